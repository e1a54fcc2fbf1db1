// The transactions that change accounts, memberships and projects on behalf of a caller, and invalidate cached rights afterwards. Not here:
// the rules (projects/, accounts/, robots/), the decisions (access/authorize.ts).
import type { Accounts, Changed } from "../access/accounts.ts";
import type { Renewable } from "../access/caller.ts";
import { grantedTransaction } from "../access/granted-transaction.ts";
import { type Database, type Executor, ON_FULL_DISK, type WriteOptions } from "../platform/database/database.ts";

/**
 * Runs a change with a grant; `changed` names what it changes. Existing rows can also be changed on a full disk: that is small, and revokes
 * rights; `options` say otherwise for additions. Errors: the grant's, and those of the work.
 */
export type ChangeRights = <G extends Renewable<G>, T>(
  grant: G,
  changed: Changed,
  work: (tx: Executor, grant: G) => Promise<T>,
  options?: WriteOptions,
) => Promise<T>;

/** Creates the function. */
export function createRightsChange(database: Database, accounts: Accounts): ChangeRights {
  return async (grant, changed, work, options = ON_FULL_DISK) => {
    try {
      return await grantedTransaction(database, grant, work, { ...options, asks: "before" });
    } finally {
      // This process must not answer from its cache; nothing else has changed.
      accounts.forget(changed);
    }
  };
}
