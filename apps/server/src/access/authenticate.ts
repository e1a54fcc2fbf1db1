// Authenticates a request: Basic credentials of a user or a robot, a bearer token, or anonymous.
// A wrong credential gets the same answer, at the same cost, whether or not the account exists. Not here: authorization.
import type { Clock } from "../platform/clock.ts";
import type { Account } from "./account-store.ts";
import { isUsable, type Accounts } from "./accounts.ts";
import { type AccountCaller, ANONYMOUS, type Caller } from "./caller.ts";
import { UnauthorizedError } from "./challenge.ts";
import { hasTokenForm, MAX_ID_TOKEN_LENGTH } from "./id-tokens.ts";
import { addressGroup, type LoginFailures } from "./login-failures.ts";
import { createLoginMemory, mayTry } from "./login-memory.ts";
import { isLive, type Credential } from "./credential-store.ts";
import type { CredentialUse } from "./credential-use.ts";
import {
  credentialRefused,
  INVALID_TOKEN,
  NO_CREDENTIALS,
  robotRefused,
  WRONG_PASSWORD,
  WRONG_PERSONAL_TOKEN,
  WRONG_REFRESH_TOKEN,
  WRONG_ROBOT_SECRET,
  WRONG_SESSION,
} from "./refusals.ts";
import { isRobotLoginName, isUserName } from "./roles.ts";
import { hashSecret, isSecretOf, MAX_PASSWORD_LENGTH, verifySecret, type PasswordHasher } from "./secrets.ts";
import { BY_PASSWORD, BY_ROBOT_SECRET, directSignIn, type SignIn } from "./sign-in.ts";
import type { DirectoryLogin } from "./ldap/directory-login.ts";
import type { TokenClaims, Tokens } from "./tokens.ts";

/** Authenticates callers. */
export interface Authenticator {
  /**
   * The caller of a request with this `Authorization` header, from this address; synchronously if it is cached. Without a header:
   * anonymous.
   * Errors: UNAUTHORIZED (also for neither Basic nor Bearer), TOOMANYREQUESTS (with `retry-after`), UNAVAILABLE.
   */
  authenticate(authorizationHeader: string | undefined, remoteAddress: string): Caller | Promise<Caller>;
  /** The same for a name and a secret that came in another way, such as in a form. */
  authenticateSecret(name: string, secret: string, remoteAddress: string): Promise<AccountCaller>;
  /** The same for a refresh token of docker's token flow. */
  authenticateRefresh(secret: string, remoteAddress: string): Promise<AccountCaller>;
  /** The same for the secret of a browser's session. */
  authenticateSession(secret: string, remoteAddress: string): Promise<AccountCaller>;
}

/** The parts of the authenticator. */
export interface AuthenticatorOptions {
  readonly accounts: Accounts;
  readonly tokens: Tokens;
  readonly passwords: PasswordHasher;
  readonly loginFailures: LoginFailures;
  /** Learns when a credential was used. */
  readonly credentialUse: CredentialUse;
  readonly clock: Clock;
  /** What an ID token becomes, for a robot that is named or not. Errors: UNAUTHORIZED. Undefined: none counts. */
  readonly takeIdToken?: ((token: string, robot: string | undefined) => Promise<AccountCaller>) | undefined;
  /** Signs in who has no password here by one in a directory. Undefined: there are no directories. */
  readonly directoryLogin?: DirectoryLogin | undefined;
}

/** Longest Basic credentials that are decoded: a robot's login name and the longest ID token, in base64. */
const MAX_BASIC_LENGTH = Math.ceil(((MAX_ID_TOKEN_LENGTH + 256) * 4) / 3);

/** The name that ID tokens come with, alone or with a robot's login name behind a plus. No robot's own name has two. */
const ID_TOKEN_NAME = "oidc";

/** The characters and lengths of `robotLoginName`; the look-up says whether such a robot exists. */
const ROBOT_LOGIN_NAME = /^[a-z0-9._-]{0,128}\+[a-z0-9._-]{1,64}$/;

/** Creates an authenticator. */
export function createAuthenticator(options: AuthenticatorOptions): Authenticator {
  const { accounts, tokens, passwords, loginFailures, credentialUse, clock, takeIdToken, directoryLogin } = options;
  const { windowMs, freeFailures } = loginFailures.rules;
  const memory = createLoginMemory(clock, { wrongForMs: windowMs, freeMisses: freeFailures });
  const underWay = new Map<string, Promise<boolean>>();
  // The caller of a token, cached as long as the account's state is the same object.
  const callers = new WeakMap<TokenClaims, { account: Account | undefined; credential: Credential | undefined; caller: Caller }>();

  function authenticateToken(token: string): Caller | Promise<Caller> {
    const claims = tokens.readToken(token);
    return claims instanceof Promise ? claims.then(authenticateClaims) : authenticateClaims(claims);
  }

  function authenticateClaims(claims: TokenClaims): Caller | Promise<Caller> {
    if (claims.account === undefined) return callerOf(claims, undefined, undefined);
    const account = accounts.find(claims.account.id);
    const id = credentialIdOf(claims.via);
    const credential = id === undefined ? undefined : accounts.findCredential(id);
    if (!(account instanceof Promise) && !(credential instanceof Promise)) return callerOf(claims, account, credential);
    return Promise.all([account, credential]).then(([found, made]) => callerOf(claims, found, made));
  }

  function callerOf(claims: TokenClaims, account: Account | undefined, credential: Credential | undefined): Caller {
    const credentialId = credentialIdOf(claims.via);
    if (claims.account !== undefined) {
      const now = clock.now();
      const isGone =
        account === undefined ||
        account.epoch !== claims.account.epoch ||
        !isUsable(account, now) ||
        // What it was given for was revoked.
        (credentialId !== undefined && !isLive(credential, account, now));
      if (isGone) throw new UnauthorizedError({ reason: "invalid_token", message: INVALID_TOKEN });
    }
    const kept = callers.get(claims);
    if (kept !== undefined && kept.account === account && kept.credential === credential) return kept.caller;
    const bound = { via: claims.via, access: claims.access, namesCatalog: claims.namesCatalog, accessEndsAt: claims.expiresAt };
    const caller: Caller =
      account === undefined ? { kind: "anonymous", ...bound } : { ...toCaller(account, claims.via, credential), ...bound };
    callers.set(claims, { account, credential, caller });
    return caller;
  }

  async function authenticateSecret(name: string, secret: string, remoteAddress: string): Promise<AccountCaller> {
    if (takeIdToken !== undefined && name.startsWith(ID_TOKEN_NAME) && hasTokenForm(secret)) {
      if (name === ID_TOKEN_NAME) return takeIdToken(secret, undefined);
      if (name.startsWith(`${ID_TOKEN_NAME}+`)) return takeIdToken(secret, name.slice(ID_TOKEN_NAME.length + 1));
    }
    if (isRobotLoginName(name)) return authenticateRobot(name, secret);
    if (isSecretOf("pat", secret)) return authenticateCredential(PERSONAL, secret, remoteAddress, name);
    // No password is that long, so answering at once reveals nothing.
    if (secret.length === 0 || secret.length > MAX_PASSWORD_LENGTH) throw new UnauthorizedError({ message: WRONG_PASSWORD });
    if (directoryLogin !== undefined) {
      // An account that has a password here always counts first, however its name is spelt: nobody elsewhere is it.
      const local = isUserName(name.toLowerCase()) ? await accounts.findByName(name.toLowerCase()) : undefined;
      if (local?.secretHash === undefined) {
        const { account, via } = await directoryLogin.signIn(name, secret, remoteAddress);
        return toCaller(account, via);
      }
    }
    // No account has such a name.
    if (!isUserName(name)) throw new UnauthorizedError({ message: WRONG_PASSWORD });
    const found = accounts.findByName(name);
    const account = found instanceof Promise ? await found : found;
    const key = memory.keyOf(account, name, secret);
    const place = `${name} ${addressGroup(remoteAddress)}`;
    if (memory.wasWrongAt(key, place)) {
      loginFailures.repeat();
      throw new UnauthorizedError({ message: WRONG_PASSWORD });
    }
    if (!(await mayTry({ memory, loginFailures }, { key, place, name, remoteAddress }))) {
      if (account === undefined || !isUsable(account, clock.now())) throw new UnauthorizedError({ message: WRONG_PASSWORD });
      return toCaller(account, BY_PASSWORD);
    }
    const isRight = memory.wasRight(key, place) || (await verifyOnce(key, name, secret, account, remoteAddress));
    if (!isRight || account === undefined || !isUsable(account, clock.now())) throw new UnauthorizedError({ message: WRONG_PASSWORD });
    const noted = loginFailures.recordSuccess(account, remoteAddress);
    if (noted instanceof Promise) await noted;
    return toCaller(account, BY_PASSWORD);
  }

  // Concurrent requests with the same credentials from the same place cost one hash, and one failure.
  function verifyOnce(key: string, name: string, secret: string, account: Account | undefined, remoteAddress: string): Promise<boolean> {
    const place = `${key} ${addressGroup(remoteAddress)}`;
    let running = underWay.get(place);
    if (running === undefined) {
      running = verifyPassword(key, name, secret, account, remoteAddress).finally(() => underWay.delete(place));
      underWay.set(place, running);
    }
    return running;
  }

  async function verifyPassword(
    key: string,
    name: string,
    secret: string,
    account: Account | undefined,
    remoteAddress: string,
  ): Promise<boolean> {
    // Checked again when it is first in the queue: requests before it may have locked the account by now.
    const isRight = await passwords.verify(secret, account?.secretHash, () => loginFailures.check(name, remoteAddress));
    const place = `${name} ${addressGroup(remoteAddress)}`;
    // A disabled user's right password is answered as a wrong one, and is therefore counted and remembered as one.
    if (!isRight || account === undefined || !isUsable(account, clock.now())) {
      memory.noteWrong(key, place);
      await loginFailures.record(name, remoteAddress, secret);
      return false;
    }
    memory.noteRight(key, place);
    return true;
  }

  // Robot secrets cannot be guessed, so failures are not counted: a cluster with an old secret would lock out its whole address.
  async function authenticateRobot(name: string, secret: string): Promise<AccountCaller> {
    // An impossible robot name is not looked up: it may contain what a database's text cannot.
    if (!isSecretOf("robot", secret) || !ROBOT_LOGIN_NAME.test(name)) throw new UnauthorizedError({ message: WRONG_ROBOT_SECRET });
    const found = accounts.findByName(name);
    const account = found instanceof Promise ? await found : found;
    const isRight = verifySecret(secret, account?.secretHash);
    if (!isRight || account === undefined) throw new UnauthorizedError({ message: WRONG_ROBOT_SECRET });
    if (!isUsable(account, clock.now())) throw robotRefused(account);
    return toCaller(account, BY_ROBOT_SECRET);
  }

  // Random secrets cannot be guessed, so failures are not counted. The same look-up and the same answer for all that are none.
  async function authenticateCredential(
    { kind, secretKind, wrong }: typeof PERSONAL | typeof REFRESH | typeof SESSION,
    secret: string,
    remoteAddress: string,
    name?: string,
  ): Promise<AccountCaller> {
    const credential = isSecretOf(secretKind, secret) ? await accounts.findCredentialByHash(hashSecret(secret)) : undefined;
    const account = credential === undefined ? undefined : await accounts.find(credential.accountId);
    if (credential?.kind !== kind || account === undefined || (name !== undefined && name !== account.name)) {
      throw new UnauthorizedError({ message: wrong });
    }
    const now = clock.now();
    if (!isLive(credential, account, now) || !isUsable(account, now)) throw credentialRefused(credential, now);
    credentialUse.note(credential, remoteAddress);
    const { id, name: called } = credential;
    if (kind === "session") return toCaller(account, { kind, id }, credential);
    return toCaller(account, { kind: kind === "personal" ? "personal-token" : "refresh-token", id, name: called }, credential);
  }

  return {
    authenticate(header, remoteAddress) {
      if (header === undefined || header === "") return ANONYMOUS;
      const space = header.indexOf(" ");
      const scheme = (space === -1 ? header : header.slice(0, space)).toLowerCase();
      const credentials = space === -1 ? "" : header.slice(space).trim();
      if (scheme === "bearer") {
        return isSecretOf("pat", credentials)
          ? authenticateCredential(PERSONAL, credentials, remoteAddress)
          : authenticateToken(credentials);
      }
      // A challenge helps here too: it lists the supported schemes.
      if (scheme !== "basic") throw new UnauthorizedError({ message: "the Authorization header is neither Basic nor Bearer" });
      if (credentials.length > MAX_BASIC_LENGTH) throw new UnauthorizedError({ message: NO_CREDENTIALS });
      const decoded = Buffer.from(credentials, "base64").toString("utf8");
      const colon = decoded.indexOf(":");
      if (colon === -1) throw new UnauthorizedError({ message: NO_CREDENTIALS });
      return authenticateSecret(decoded.slice(0, colon), decoded.slice(colon + 1), remoteAddress);
    },
    authenticateSecret,
    authenticateRefresh: (secret, remoteAddress) => authenticateCredential(REFRESH, secret, remoteAddress),
    authenticateSession: (secret, remoteAddress) => authenticateCredential(SESSION, secret, remoteAddress),
  };
}

const PERSONAL = { kind: "personal", secretKind: "pat", wrong: WRONG_PERSONAL_TOKEN } as const;
const REFRESH = { kind: "refresh", secretKind: "refresh", wrong: WRONG_REFRESH_TOKEN } as const;
const SESSION = { kind: "session", secretKind: "session", wrong: WRONG_SESSION } as const;

/** The row of what a token was given for. */
function credentialIdOf(via: SignIn): number | undefined {
  const by = directSignIn(via);
  return "id" in by ? by.id : undefined;
}

function toCaller({ id: accountId, name, isAdmin, epoch, networks }: Account, via: SignIn, credential?: Credential): AccountCaller {
  const caller: AccountCaller = { kind: "account", accountId, name, isAdmin, epoch, via, access: undefined, ...(networks && { networks }) };
  return credential === undefined ? caller : { ...caller, credentialId: credential.id, personal: credential.bound };
}
