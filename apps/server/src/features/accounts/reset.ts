// Sets a new password on the machine itself, when nobody can sign in any more. Anybody who can run it could also read the database. Not
// here: changes by users who can sign in (accounts.ts), the output (roles/account.ts).
import { type Account, findAccountByName, lockAccount, updateAccount } from "../../access/account-store.ts";
import { recordUserUpdate, type AccountChange } from "../../access/account-changes.ts";
import type { Actor } from "../../access/actor.ts";
import type { ChangeSink } from "../../access/changes.ts";
import type { Executor } from "../../platform/database/database.ts";
import { StartupError } from "../../platform/startup-error.ts";

/** Further changes of the account besides its password. */
export interface ResetOptions {
  /** Gives it an administrator's rights. */
  readonly makesAdministrator: boolean;
  /** The actor, and the sink of the change. */
  readonly actor: Actor;
  readonly changes: ChangeSink<AccountChange>;
}

/**
 * Sets a user's password by its hash, ends all its tokens, and enables it if it was disabled. Returns its state then.
 * Errors: `StartupError` if there is no such user.
 */
export async function resetAccount(
  tx: Executor,
  name: string,
  secretHash: string,
  { makesAdministrator, actor, changes }: ResetOptions,
): Promise<{ readonly isAdmin: boolean; readonly wasDisabled: boolean }> {
  const found = await findAccountByName(tx, name);
  const account = found === undefined ? undefined : await lockAccount(tx, found.id);
  if (account === undefined || account.kind !== "user")
    throw new StartupError(`There is no user ${JSON.stringify(name)}. Nothing was changed.`);
  const systemRole = makesAdministrator ? "administrator" : account.systemRole;
  const next: Account = { ...account, secretHash, systemRole, isDisabled: false };
  await updateAccount(tx, next, true);
  await recordUserUpdate(tx, actor, changes, account, next);
  return { isAdmin: account.isAdmin || makesAdministrator, wasDisabled: account.isDisabled };
}
