// Waiting for a database that is not there yet, as when both start together: for so long as is configured, and told of in the log.
// Not here: what its errors mean (start-errors.ts).
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config.ts";
import { SECOND_MS } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import type { Logger } from "../platform/log.ts";
import { databaseStartError, explainDatabaseError } from "./start-errors.ts";

/** Between two tries. */
const TRY_EVERY_MS = 500;

/** Resolves when the database answers. Errors: `StartupError` where it does not in time, or never will as it is configured. */
export async function awaitDatabase(database: Database, config: Config, logger: Logger): Promise<void> {
  if (config.database.url === undefined) return;
  const until = performance.now() + config.database.startTimeoutSeconds * SECOND_MS;
  let isReported = false;
  for (;;) {
    try {
      await database.probe();
      return;
    } catch (error) {
      const failure = explainDatabaseError(error);
      // It answered: what else is wrong with it, such as a full disk, shows where it matters.
      if (failure === undefined) return;
      if (!failure.mayPass || performance.now() >= until) throw databaseStartError(error, config);
      if (!isReported) logger.warn({ reason: failure.reason, seconds: config.database.startTimeoutSeconds }, "waiting for the database");
      isReported = true;
      await sleep(TRY_EVERY_MS);
    }
  }
}
