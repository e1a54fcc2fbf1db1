// The role `store adopt`: makes the configured store the database's own, if its mark is lost, or was another registry's. Not here: the
// purpose of the mark (content/store-binding.ts).
import { awaitDatabase } from "../compose/await-database.ts";
import { nameDatabase, nameStore, openDatabase, openStore, requireDatabase } from "../compose/openers.ts";
import type { Config } from "../config.ts";
import { adoptStore, describeBinding } from "../content/store-binding.ts";
import { refuseHalfRestored } from "../commands/backup/restore-store.ts";
import { systemClock } from "../platform/clock.ts";
import { findMigrationVersion } from "../platform/database/migrate.ts";
import { StartupError } from "../platform/startup-error.ts";
import type { Options } from "./command-line.ts";
import { confirm } from "./confirm.ts";
import { commandLog, withRoleContext } from "./context.ts";

/** Prints what database and store know of each other, asks for confirmation, and marks the store. Errors: `StartupError`, UNAVAILABLE. */
export async function runStoreAdopt(config: Config, { replace, yes }: Options): Promise<number | undefined> {
  requireDatabase(config);
  return withRoleContext(config, commandLog(config), async ({ logger }) => {
    await using opened = new AsyncDisposableStack();
    const database = opened.adopt(await openDatabase(config, logger), (each) => each.close());
    await awaitDatabase(database, config, logger);
    await refuseHalfRestored(database);
    if ((await findMigrationVersion(database)) === 0)
      throw new StartupError(`The database ${nameDatabase(config)} is empty: there is nothing to adopt for.`);
    const store = opened.adopt(await openStore(config), (each) => each.close());
    const parts = { database, store, shown: nameStore(config), now: systemClock.now() };
    const { bound, mark, found, sampled } = await describeBinding(parts);
    process.stderr.write(
      `${parts.shown} bears ${mark === undefined ? "no mark" : `the mark of ${mark}`}; ` +
        `the database ${nameDatabase(config)} ${bound === undefined ? "knows no store yet" : `belongs to ${bound}`}.\n` +
        `Of its ${sampled} newest blobs with bytes in a store, ${found} are there; each one that is not counts as damaged until it is pushed again.\n`,
    );
    await confirm("Make it this database's store?", yes === true, "Say --yes to make it this database's store.");
    process.stdout.write(`the store bears the mark of ${await adoptStore(parts, replace)} now\n`);
    return undefined;
  });
}
