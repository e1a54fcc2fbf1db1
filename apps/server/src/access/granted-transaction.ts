// Transactions on behalf of a caller: the only way in which content and accounts are written for one. Not here: the decisions
// (authorize.ts), writes without a caller, such as garbage collection.
import { RegistryError } from "@berth/oci/errors";
import type { Database, Executor, WriteOptions } from "../platform/database/database.ts";
import type { Renewable } from "./caller.ts";
import { isAsWide } from "./tag-patterns.ts";

/** The options of such a transaction. */
export interface GrantedOptions extends WriteOptions {
  /**
   * Whether the grant is checked after the work (the default), which covers everything that happened while the transaction waited for
   * another; or before: for work that changes rights, perhaps those of its own caller.
   */
  readonly asks?: "before" | "after";
}

/**
 * Runs `work` in one transaction if the grant still holds. It was given before a body arrived, which may have taken minutes. Therefore it
 * is renewed when the work begins, and once more in the transaction, which may have waited for another or run again: by what the
 * transaction reads, if the grant is old or rights have been changed here. Errors: the grant's, and those of the work.
 */
export async function grantedTransaction<G extends Renewable<G> & { readonly tags?: readonly string[] | undefined }, T>(
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
    const renewing = present.renew(tx);
    const held = renewing instanceof Promise ? await renewing : renewing;
    if (held !== present && !isAsWide(held.tags, present.tags)) throw narrowedMeanwhile();
    return result;
  }, options);
}

/** The work went by tags that the right may not reach any more. */
function narrowedMeanwhile(): RegistryError {
  return new RegistryError("DENIED", { message: "the tags that you may move were narrowed while this was written: try again" });
}
