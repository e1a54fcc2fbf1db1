// The context of a role: the log, tracing, and, for roles that work on the registry, the data directory and the secret key. It is opened
// before the role and closed after it, also after a failure. Not here: the roles, and their composition (compose.ts).
import { join } from "node:path";
import { loadOrCreateMasterKey, parseMasterKey } from "../access/master-key.ts";
import type { RoleContext } from "../compose/foundation.ts";
import { openTracing } from "../compose/openers.ts";
import type { Config } from "../config.ts";
import { openDataDirectory, type DataDirectory } from "../platform/data-directory.ts";
import { createLog, type Logger, type LogOptions } from "../platform/log.ts";
import { StartupError } from "../platform/startup-error.ts";
import type { Tracing } from "../platform/tracing.ts";
import { isStartProblem } from "./expected-errors.ts";

/** The file of the secret key in the data directory. */
export const KEY_FILE = "secret-key";

/** The file of the first administrator's password, if it was generated; it exists until the password is changed. */
export const PASSWORD_FILE = "admin-password";

/** Opens the log, and tracing if it is configured; does some work with them, and closes them. */
export async function withLog<T>(
  config: Config,
  options: LogOptions,
  play: (logger: Logger, tracing: Tracing | undefined) => Promise<T>,
): Promise<T> {
  let tracing: Tracing | undefined;
  const isTraced = config.tracing.endpoint !== undefined;
  const log = createLog({ ...options, ...(isTraced ? { contextFields: () => tracing?.logFields() ?? {} } : {}) });
  try {
    tracing = await openTracing(config, log.logger);
    return await play(log.logger, tracing);
  } finally {
    await tracing?.close();
    log.flush();
  }
}

/** The log of a command: it avoids standard output, which is for the command's report. */
export function commandLog(config: Config): LogOptions {
  return { ...config.log, stream: process.stderr };
}

/** Opens what a role that works on the registry needs, runs it, and closes in the opposite order. */
export async function withRoleContext<T>(
  config: Config,
  logOptions: LogOptions,
  play: (roleContext: RoleContext, directory: DataDirectory) => Promise<T>,
): Promise<T> {
  const directory = await openDataDirectory(config.data);
  try {
    return await withLog(config, logOptions, async (logger, tracing) => {
      if (directory.madePrivate.length > 0)
        logger.warn({ paths: directory.madePrivate }, "other users of this machine had rights to these: they are private now");
      const masterKey = await openMasterKey(config, join(directory.path, KEY_FILE));
      return play({ config, logger, masterKey, tracing }, directory);
    });
  } finally {
    directory.close();
  }
}

/** The configured key, or that of the file, which the first start creates. Errors: `StartupError` if the file contains none. */
async function openMasterKey({ auth }: Config, file: string): Promise<Uint8Array> {
  if (auth.secretKey !== undefined) return parseMasterKey(auth.secretKey);
  try {
    return await loadOrCreateMasterKey(file);
  } catch (error) {
    if (isStartProblem(error)) throw error;
    throw new StartupError(`Cannot use the secret key in ${file}: ${(error as Error).message}`, { cause: error });
  }
}
