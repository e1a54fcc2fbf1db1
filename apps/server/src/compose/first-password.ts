// The administrator's first password: its file is deleted once the password is changed, whoever changed it and on whichever replica; and a
// configured one that has no effect is reported. Not here: how the first one is made (access/bootstrap.ts, roles/serve.ts).
import { readFile, rm } from "node:fs/promises";
import { findAccountByName } from "../access/account-store.ts";
import { ADMINISTRATOR_NAME } from "../access/bootstrap.ts";
import type { PasswordHasher } from "../access/secrets.ts";
import type { Database } from "../platform/database/database.ts";
import type { Logger } from "../platform/log.ts";

/** The parts that the watch needs. */
export interface FirstPasswordParts {
  readonly database: Database;
  readonly passwords: PasswordHasher;
  readonly logger: Logger;
  /** `auth.adminPassword`. */
  readonly configured: string | undefined;
  /** The file of the first password; undefined: there is none. */
  readonly file: string | undefined;
}

/** How often the account is checked while the file exists. */
const LOOK_EVERY_MS = 2_000;

/** Starts to check, without delaying the start. Returns a function that ends it. */
export function watchFirstPassword({ database, passwords, logger, configured, file }: FirstPasswordParts): () => Promise<void> {
  let seenHash: string | undefined;
  let isOver = false;

  async function isPassword(password: string, hash: string | undefined): Promise<boolean> {
    return hash !== undefined && (await passwords.verify(password, hash));
  }

  /** Compares if the account has changed since; true when there is nothing more to check. */
  async function look(): Promise<boolean> {
    if (file === undefined) return true;
    const hash = (await findAccountByName(database, ADMINISTRATOR_NAME))?.secretHash;
    if (hash === seenHash) return false;
    const written = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (written === undefined) return true;
    if (await isPassword(written.trim(), hash)) {
      seenHash = hash;
      return false;
    }
    await rm(file, { force: true });
    logger.info({ file }, "the administrator's first password is no longer the password: its file was removed");
    return true;
  }

  async function reportIgnored(): Promise<void> {
    if (configured === undefined) return;
    const account = await findAccountByName(database, ADMINISTRATOR_NAME);
    if (await isPassword(configured, account?.secretHash)) return;
    logger.warn(
      { account: ADMINISTRATOR_NAME },
      "auth.adminPassword is not heeded: it is for the very first start, and the account is there with another password, or was deleted. " +
        "Change the password in the API, or with `berth-server account reset`",
    );
  }

  const report = (error: unknown): void => {
    if (!isOver) logger.warn({ err: error }, "the administrator's first password could not be looked at");
  };
  let running: Promise<void> = reportIgnored().catch(report);
  const timer = setInterval(() => {
    running = running.then(async () => {
      if (!isOver && (await look())) clearInterval(timer);
    });
    running = running.catch(report);
  }, LOOK_EVERY_MS);
  timer.unref();
  return async () => {
    isOver = true;
    clearInterval(timer);
    await running;
  };
}
