// The texts of refusals for people. docker shows a text only if it differs from the specification's own, and then nothing else; so each
// says what is wrong and who can help. Texts depend on the caller and on what the caller may see: they reveal nothing else. Pure. Not here:
// when something is refused (authenticate.ts, authorize.ts).
import { type ProjectPermission, type SystemPermission, whoMay } from "@berth/api/permissions";
import { RegistryError } from "@berth/oci/errors";
import { projectOf, type RepositoryName } from "@berth/oci/reference";
import type { Account } from "./account-store.ts";
import type { Credential } from "./credential-store.ts";
import type { PersonalBound } from "./personal-bound.ts";
import type { Action, Caller } from "./caller.ts";
import { scopeOf, UnauthorizedError } from "./challenge.ts";
import { DOES, inProject, inRegistry, ROLE_FOR } from "./explain-words.ts";

/** The same for an unknown name, a wrong password and a disabled user. */
export const WRONG_PASSWORD = "the user name or the password is wrong, or the user is disabled";
/** The same for an unknown name and a wrong secret. */
export const WRONG_ROBOT_SECRET = "the robot's name or its secret is wrong";
/** For credentials of no possible form. */
export const NO_CREDENTIALS = "the Authorization header holds no name and password";
/** The same for an unknown name and a personal token that is none, was revoked or is somebody else's. */
export const WRONG_PERSONAL_TOKEN = "the user name or the personal token is wrong, or the token was revoked";
/** The same for a refresh token that is none, was revoked or was not used for too long. */
export const WRONG_REFRESH_TOKEN = "the refresh token was revoked, or was not used for too long: log in again";
/** The same for a session that is none, was ended or was not used for too long. */
export const WRONG_SESSION = "the session has ended: sign in again";
/** For tokens about which nothing more can be said. */
export const INVALID_TOKEN =
  "the token does not count: it has ended, is not of this registry, or its account has changed since; log in again";

/** For a robot with the right secret; it may know why it is refused. */
export function robotRefused(robot: Account): UnauthorizedError {
  const message = robot.isDisabled
    ? `the robot ${robot.name} is disabled: who keeps it can enable it again`
    : `the time of the robot ${robot.name} was over at ${robot.expiresAt?.toISOString()}: who keeps it can set another`;
  return new UnauthorizedError({ message });
}

/** For a credential that was right; its owner may know why it is refused. */
export function credentialRefused({ name, expiresAt }: Pick<Credential, "name" | "expiresAt">, now: number): UnauthorizedError {
  const message =
    expiresAt.getTime() <= now
      ? `the time of the token ${name} was over at ${expiresAt.toISOString()}: make another`
      : `the user of the token ${name} is disabled, or has signed in anew since: an administrator can enable it again`;
  return new UnauthorizedError({ message });
}

/** For a personal token that does not open what is asked for, whatever its user may. */
export function apiBeyondToken({ token, api }: PersonalBound, isWrite: boolean): RegistryError {
  const has = api === "none" ? "opens none of the API" : isWrite && api === "read" ? "only reads the API" : "does not reach that far";
  return new RegistryError("DENIED", { message: `the personal token ${token} ${has}: use another, or the password` });
}

/** For anonymous callers: without credentials, or with an anonymous token. */
export function notLoggedIn(caller: Caller, action: Action, repository: RepositoryName): UnauthorizedError {
  const message = `no credentials came that let anybody ${DOES[action]} ${repository}: log in; if you are, a proxy on the way removes the Authorization header`;
  const scope = scopeOf(action, repository);
  return new UnauthorizedError(caller.access === undefined ? { scope, message } : { scope, message, reason: "insufficient_scope" });
}

/**
 * For an account without the right, or by a personal token that does not reach it. `sees`: it may pull there, so that it may know that the
 * repository's project exists. `why`: told to those alone.
 */
export function rightMissing(
  account: Account,
  action: Action,
  repository: RepositoryName,
  { sees, token, why }: { readonly sees: boolean; readonly token?: string | undefined; readonly why?: string },
): RegistryError {
  const detail = { name: repository };
  const does = DOES[action];
  const help =
    token !== undefined
      ? `the personal token ${token} does not let anybody ${does} it: use one that does`
      : account.kind === "robot"
        ? "who keeps the robot can change its scopes"
        : sees
          ? `an owner of the project ${projectOf(repository)} can give the role ${ROLE_FOR[action]}`
          : `if there is one, an owner of its project can give the role ${ROLE_FOR[action]}${action === "push" ? `; if not, who may create projects can make the project ${projectOf(repository)} (berth project create)` : ""}`;
  const what = sees
    ? `${account.name} may not ${does} ${repository}${why === undefined ? "" : `: ${why}`}`
    : `${repository} does not exist, or ${account.name} may not ${does} it`;
  return new RegistryError(action === "pull" ? "NAME_UNKNOWN" : "DENIED", { message: `${what}; ${help}`, detail });
}

/** For an administrator, for whom only the project can be missing. */
export function projectMissing(action: Action, repository: RepositoryName): RegistryError {
  const name = projectOf(repository);
  const create = action === "push" ? `; create it first: POST /api/v1/projects {"name":"${name}"}` : "";
  return new RegistryError("NAME_UNKNOWN", { message: `project ${name} does not exist${create}`, detail: { name: repository } });
}

/** For who sees the project and may not do this in it. */
export function projectRightMissing({ name }: Account, permission: ProjectPermission, project: string): RegistryError {
  const who = whoMay({ kind: "project", may: permission });
  return new RegistryError("DENIED", {
    message: `${name} may not ${inProject(permission, project)}: that is for ${who}`,
    detail: { project },
  });
}

/** For who may not do this in the registry. */
export function systemRightMissing({ name }: Account, may: SystemPermission | "administer"): RegistryError {
  const who = may === "administer" ? "administrators" : whoMay({ kind: "system", may });
  return new RegistryError("DENIED", { message: `${name} may not ${inRegistry(may)}: that is for ${who}` });
}
