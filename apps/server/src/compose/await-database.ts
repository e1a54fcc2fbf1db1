// Waits for a database that is not reachable yet, as when both start together: for a configured time, with a line in the log. Not here: the
// meaning of its errors (start-errors.ts).
import { setTimeout as sleep } from "node:timers/promises";
import type { Config } from "../config.ts";
import { SECOND_MS } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import type { Logger } from "../platform/log.ts";
import { databaseStartError, explainDatabaseError } from "./start-errors.ts";

/** The interval between two attempts. */
const TRY_EVERY_MS = 500;

/** Resolves when the database answers. Errors: `StartupError` if it does not in time, or never can with this configuration. */
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
      // It answered: other problems, such as a full disk, are reported where they matter.
      if (failure === undefined) return;
      if (!failure.mayPass || performance.now() >= until) throw databaseStartError(error, config);
      if (!isReported) logger.warn({ reason: failure.reason, seconds: config.database.startTimeoutSeconds }, "waiting for the database");
      isReported = true;
      await sleep(TRY_EVERY_MS);
    }
  }
}
