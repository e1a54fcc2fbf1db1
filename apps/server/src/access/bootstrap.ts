// The first start: an administrator and a public project, once, however many replicas start together.
// Not here: where a generated password is written (roles/serve.ts).
import { RegistryError } from "@berth/oci/errors";
import type { ProjectName } from "@berth/oci/reference";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { AccountChange } from "./account-changes.ts";
import { type Actor, systemActor } from "./actor.ts";
import type { ChangeSink } from "./changes.ts";
import { hasUsers, insertAccount } from "./account-store.ts";
import { putMember } from "./member-store.ts";
import { generatePassword, MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH, type PasswordHasher } from "./secrets.ts";

/** The first administrator's name. */
export const ADMINISTRATOR_NAME = "admin";
/** The project that exists from the start if the configuration names none for names with one segment. */
const LIBRARY_PROJECT = "library";
/** There is no account yet that could be the actor. */
const FIRST_START: Actor = systemActor("first start");

/** The result of the first start. */
export type BootstrapResult =
  | { readonly created: false }
  /** `generatedPassword` is set if none was configured; only the caller knows it. */
  | { readonly created: true; readonly generatedPassword: string | undefined };

const insertLibrary = statement<{ name: string; sortKey: string; now: number }>()("bootstrap.library", (db, p) =>
  db
    .insertInto("project")
    .values({ name: p.name, sort_key: p.sortKey, is_public: 1, created_at: p.now })
    .onConflict((conflict) => conflict.column("name").doNothing())
    .returning("id"),
);

/** Creates what an empty registry needs. Errors: REQUEST_INVALID for a password that is too short or too long. */
export async function bootstrap(options: {
  database: Database;
  clock: Clock;
  passwords: PasswordHasher;
  /** From the configuration; generated where undefined. */
  administratorPassword: string | undefined;
  /** The project that exists from the start; `library` where undefined. */
  defaultProject: ProjectName | undefined;
  readonly changes: ChangeSink<AccountChange>;
}): Promise<BootstrapResult> {
  const { database, clock, passwords, administratorPassword, changes } = options;
  const projectName = options.defaultProject ?? LIBRARY_PROJECT;
  if (await hasUsers(database)) return { created: false };
  if (
    administratorPassword !== undefined &&
    (administratorPassword.length < MIN_PASSWORD_LENGTH || administratorPassword.length > MAX_PASSWORD_LENGTH)
  ) {
    throw new RegistryError("REQUEST_INVALID", {
      message: `the administrator's password has not ${MIN_PASSWORD_LENGTH} to ${MAX_PASSWORD_LENGTH} characters`,
    });
  }
  const generatedPassword = administratorPassword === undefined ? generatePassword() : undefined;
  const secretHash = await passwords.hash(administratorPassword ?? generatedPassword!);
  const created = await database.transaction(async (tx) => {
    if (await hasUsers(tx)) return false;
    // When replicas run this together, the name's uniqueness lets one through; the others wait for it and then see the conflict.
    const accountId = await insertAccount(
      tx,
      { kind: "user", name: ADMINISTRATOR_NAME, secretHash, systemRole: "administrator" },
      clock.now(),
    );
    if (accountId === undefined) return false;
    const project = await tx.first(insertLibrary, { name: projectName, sortKey: `${projectName}/`, now: clock.now() });
    const account = { account: ADMINISTRATOR_NAME, accountId };
    await changes.record(tx, FIRST_START, [{ kind: "user.created", ...account, isAdmin: true, systemRole: "administrator" }]);
    if (project !== undefined) {
      await putMember(tx, project.id, accountId, "owner");
      const made = { project: projectName, projectId: project.id };
      await changes.record(tx, FIRST_START, [
        { kind: "project.created", ...made, isPublic: true },
        { kind: "member.changed", ...made, ...account, from: undefined, to: "owner" },
      ]);
    }
    return true;
  });
  return created ? { created, generatedPassword } : { created };
}
