// Transactions that change what others see because somebody may: the only way in which content and accounts are written for a caller.
// Not here: the decisions (authorize.ts), what is written without being asked for, such as collection.
import type { Database, Executor, WriteOptions } from "../platform/database/database.ts";
import type { Renewable } from "./caller.ts";

/** How such a transaction is run. */
export interface GrantedOptions extends WriteOptions {
  /**
   * Whether the transaction asks for the grant after its work (the default), which leaves out nothing that happened while it waited for
   * another; or before: for work that changes rights, perhaps those of who does it.
   */
  readonly asks?: "before" | "after";
}

/**
 * Runs `work` in one transaction if the grant still holds. It was given before a body came, which may have taken minutes, so that it is asked
 * for again when the work begins, and once more in the transaction, which may have waited for another or been run again: by what the
 * transaction reads, where the grant is old or rights have been changed here. Errors: the grant's, and those of the work.
 */
export async function grantedTransaction<G extends Renewable<G>, T>(
  database: Database,
  grant: G,
  work: (tx: Executor, grant: G) => Promise<T>,
  { asks = "after", ...options }: GrantedOptions = {},
): Promise<T> {
  const renewed = grant.renew();
  const present = renewed instanceof Promise ? await renewed : renewed;
  return database.transaction(async (tx) => {
    if (asks === "before") return work(tx, await present.renew(tx));
    const result = await work(tx, present);
    const held = present.renew(tx);
    if (held instanceof Promise) await held;
    return result;
  }, options);
}
