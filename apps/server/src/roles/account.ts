// The role `account reset`: a new password for a user when nobody can sign in any more, on either database, also beside the running server.
// Not here: the change itself (features/accounts/reset.ts).
import { rm } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { systemActor } from "../access/actor.ts";
import { ADMINISTRATOR_NAME } from "../access/bootstrap.ts";
import { createPasswordHasher, generatePassword } from "../access/secrets.ts";
import { awaitDatabase } from "../compose/await-database.ts";
import { nameDatabase, openDatabase, requireDatabase, transactBeside } from "../compose/openers.ts";
import type { Config } from "../config.ts";
import { createAuditSink } from "../features/audit/audit-sink.ts";
import { createChangeRecorder, PERHAPS_ALL } from "../events/outbox.ts";
import { resetAccount, type ResetOptions } from "../features/accounts/reset.ts";
import { findMigrationVersion } from "../platform/database/migrate.ts";
import { systemClock } from "../platform/clock.ts";
import { StartupError } from "../platform/startup-error.ts";
import { reactions } from "../reactions.ts";
import type { Options } from "./command-line.ts";
import { commandLog, PASSWORD_FILE, withLog } from "./context.ts";

/** Resets the password of a user, `admin` if none is named, and prints the new one, once. Errors: `StartupError`, UNAVAILABLE. */
export async function runAccountReset(config: Config, name: string, options: Options): Promise<number | undefined> {
  requireDatabase(config);
  // Standard output contains only the password, for `$(…)`.
  return withLog(config, commandLog(config), async (logger) => {
    const user = name === "" ? ADMINISTRATOR_NAME : name;
    const password = generatePassword();
    const secretHash = await createPasswordHasher().hash(password);
    const reset: ResetOptions = {
      makesAdministrator: options.admin === true,
      actor: systemActor(`account reset by ${userInfo().username}`),
      changes: createAuditSink(systemClock, createChangeRecorder(systemClock, reactions, PERHAPS_ALL)),
    };
    let done: Awaited<ReturnType<typeof resetAccount>>;
    if (config.database.url === undefined) done = await transactBeside(config, (tx) => resetAccount(tx, user, secretHash, reset));
    else {
      const database = await openDatabase(config, logger);
      try {
        await awaitDatabase(database, config, logger);
        if ((await findMigrationVersion(database)) === 0) throw new StartupError(`The database ${nameDatabase(config)} is empty.`);
        done = await database.transaction((tx) => resetAccount(tx, user, secretHash, reset));
      } finally {
        await database.close();
      }
    }
    if (user === ADMINISTRATOR_NAME) await rm(join(config.data, PASSWORD_FILE), { force: true });
    logger.warn(
      { account: user, ...done, by: userInfo().username },
      "an account's password was reset on the machine; its tokens have ended",
    );
    if (!done.isAdmin) process.stderr.write(`${user} is no administrator; --admin makes it one.\n`);
    process.stdout.write(`${password}\n`);
    return undefined;
  });
}
