// The transactions that change accounts, memberships and projects: for somebody who may, and forgotten afterwards where rights are remembered.
// Not here: the rules (projects/, accounts/, robots/), the decisions (access/authorize.ts).
import type { Accounts, Changed } from "../access/accounts.ts";
import type { Renewable } from "../access/caller.ts";
import { grantedTransaction } from "../access/granted-transaction.ts";
import { type Database, type Executor, ON_FULL_DISK, type WriteOptions } from "../platform/database/database.ts";

/**
 * Runs a change by a grant, which changes just what is said. What exists can be changed on a full disk too: it is small, and takes rights away; `options` say otherwise for what
 * adds. Errors: the grant's, and those of the work.
 */
export type ChangeRights = <G extends Renewable<G>, T>(
  grant: G,
  changed: Changed,
  work: (tx: Executor, grant: G) => Promise<T>,
  options?: WriteOptions,
) => Promise<T>;

/** Makes what changes rights. */
export function createRightsChange(database: Database, accounts: Accounts): ChangeRights {
  return async (grant, changed, work, options = ON_FULL_DISK) => {
    try {
      return await grantedTransaction(database, grant, work, { ...options, asks: "before" });
    } finally {
      // So that this process never answers by what it remembered; of the others nothing has changed.
      accounts.forget(changed);
    }
  };
}
