// The role `migrate`: migrates the database to a version and prints it. Before migrating back it lists the losses of every step and asks
// for confirmation; content that cannot be recreated is only dropped if the operator names the database. Not here: the steps
// (platform/database/migrations/).
import { awaitDatabase } from "../compose/await-database.ts";
import { nameDatabase, openDatabase, requireDatabase } from "../compose/openers.ts";
import type { Config } from "../config.ts";
import { refuseHalfRestored } from "../commands/backup/restore-store.ts";
import { systemClock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { countOtherConnections, findLosses } from "../platform/database/losses.ts";
import { findMigrationVersion, LATEST_MIGRATION, migrate } from "../platform/database/migrate.ts";
import { RELEASED } from "../platform/database/migrations/all.ts";
import { StartupError, UsageError } from "../platform/startup-error.ts";
import { VERSION } from "../platform/version.ts";
import type { Options } from "./command-line.ts";
import { confirm } from "./confirm.ts";
import { commandLog, withRoleContext } from "./context.ts";

/** Migrates the database to version `to`, or to this program's. Errors: `StartupError` for an unknown version, and without confirmation. */
export async function runMigrate(config: Config, options: Options): Promise<number | undefined> {
  const target = options.to === undefined ? undefined : parseVersion(options.to);
  if (target !== undefined && target !== LATEST_MIGRATION) requireDatabase(config);
  return withRoleContext(config, commandLog(config), async ({ logger }) => {
    const database = await openDatabase(config, logger);
    try {
      await awaitDatabase(database, config, logger);
      await refuseHalfRestored(database);
      const from = await findMigrationVersion(database);
      if (target !== undefined && target < from && from <= LATEST_MIGRATION) await agreeToLosses(config, database, from, target, options);
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

/** A release's version, this program's, or 0, which is an empty database. Errors: `UsageError`. */
function parseVersion(text: string): number {
  const version = /^\d{1,15}$/.test(text) ? Number(text) : undefined;
  const known = [...RELEASED, { release: `${VERSION}, this program`, version: LATEST_MIGRATION }];
  if (version === 0 || known.some((each) => each.version === version)) return version!;
  throw new UsageError(
    `--to ${text} is no release's version. There are ${known.map((each) => `${each.version} (${each.release})`).join(", ")}; ` +
      "and 0, which takes every table away.",
  );
}

async function agreeToLosses(config: Config, database: Database, from: number, to: number, { yes, destroy }: Options): Promise<void> {
  const losses = await findLosses(database, from, to);
  const name = nameDatabase(config);
  process.stderr.write(`The way back from version ${from} to ${to} of the database ${name}:\n`);
  for (const { id, name: step, what } of losses) process.stderr.write(`  step ${id} (${step}) loses ${what}\n`);
  const destroyed = losses.flatMap((loss) => loss.destroyed);
  if (destroyed.length === 0) {
    await confirm(`Take the database ${name} back to version ${to}?`, yes === true, "Say --yes to go back to it without being asked.");
    return;
  }
  if (destroy !== name) {
    const given = destroy === undefined ? "" : ` ${destroy} is another one.`;
    throw new StartupError(
      `Nothing was changed: what is in ${destroyed.join(", ")} would be gone for good.${given} ` +
        `Take a backup first. To destroy it all the same, name the database: --destroy ${name}`,
    );
  }
  const others = await countOtherConnections(database);
  if (others > 0)
    throw new StartupError(`Nothing was changed: ${others} connections of running servers to ${name} are open. Stop the servers first.`);
}
