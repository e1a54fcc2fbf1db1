// The role `migrate`: brings the database to a version and says to which. Not here: the steps (platform/database/migrations/).
import { openDatabase } from "../compose/openers.ts";
import type { Config } from "../config.ts";
import { refuseHalfRestored } from "../features/backup/restore-store.ts";
import { systemClock } from "../platform/clock.ts";
import { findMigrationVersion, LATEST_MIGRATION, migrate } from "../platform/database/migrate.ts";
import { StartupError } from "../platform/startup-error.ts";
import { withSurroundings } from "./surroundings.ts";

/** Brings the database to version `to`, or to this program's. Errors: `StartupError` for a version that there is not. */
export async function runMigrate(config: Config, to: string | undefined): Promise<number | undefined> {
  const target = to === undefined ? undefined : Number(to);
  if (target !== undefined && (!Number.isInteger(target) || target < 0 || target > LATEST_MIGRATION)) {
    throw new StartupError(`--to is a version from 0 to ${LATEST_MIGRATION}`);
  }
  return withSurroundings(config, async ({ logger }) => {
    const database = await openDatabase(config, logger);
    try {
      await refuseHalfRestored(database);
      for (const step of await migrate(database, systemClock, target)) process.stdout.write(`${step}\n`);
      const version = await findMigrationVersion(database);
      const newer = version > LATEST_MIGRATION ? `, newer than this program's ${LATEST_MIGRATION}, which may run on it` : "";
      process.stdout.write(`the database is at version ${version}${newer}\n`);
      return undefined;
    } finally {
      await database.close();
    }
  });
}
