// The meaning of SQLite's errors for the registry. Not here: the reaction to them (sqlite.ts).
import { RegistryError } from "@berth/oci/errors";
import { StartupError } from "../startup-error.ts";
import { shownBytes } from "../report.ts";
import { roomWantedFor, SQLITE_RESERVE_BYTES } from "./disk-reserve.ts";
import { databaseVersionError } from "./database.ts";

// Result codes: https://www.sqlite.org/rescode.html
const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;
const SQLITE_ERROR = 1;
/** SQLite has one code for everything that is wrong with a statement. */
const NOT_IN_SCHEMA = /^no such (?:table|column)|has no column named|^ON CONFLICT clause does not match/;
/** The log's shared index could not grow, which only happens on a full disk. */
const SQLITE_IOERR_SHMSIZE = SQLITE_IOERR | (19 << 8);

const OUT_OF_REACH = new Set([SQLITE_BUSY, SQLITE_READONLY, SQLITE_IOERR, SQLITE_CANTOPEN]);

/** Maps errors of SQLite or of the disk to STORAGE_FULL, UNAVAILABLE, DATABASE_DAMAGED or DATABASE_VERSION; leaves others as they are. */
export function translateSqliteError(error: unknown): unknown {
  if (error instanceof RegistryError || !(error instanceof Error)) return error;
  const { errcode, code } = error as Error & { errcode?: number; code?: string };
  const primary = errcode === undefined ? undefined : errcode & 0xff;
  if (primary === SQLITE_FULL || errcode === SQLITE_IOERR_SHMSIZE || code === "ENOSPC" || code === "EDQUOT") {
    return new RegistryError("STORAGE_FULL", { cause: error });
  }
  if (primary === SQLITE_ERROR && NOT_IN_SCHEMA.test(error.message)) return databaseVersionError(error);
  if (primary === SQLITE_CORRUPT || primary === SQLITE_NOTADB) return new RegistryError("DATABASE_DAMAGED", { cause: error });
  if ((primary !== undefined && OUT_OF_REACH.has(primary)) || code === "EIO" || code === "EROFS") {
    return new RegistryError("UNAVAILABLE", { cause: error, headers: { "retry-after": "2" } });
  }
  return error;
}

/** Why a database file cannot be opened and what to do, as a message. */
export function sqliteOpenError(path: string, error: unknown): unknown {
  const translated = translateSqliteError(error);
  if (!(translated instanceof RegistryError)) return translated;
  const reason = error instanceof Error ? error.message : String(error);
  const advice =
    translated.code === "DATABASE_DAMAGED"
      ? "It is damaged: put the data directory aside and restore a backup (docs/guide/backup.md, A damaged database)."
      : translated.code === "STORAGE_FULL"
        ? `The disk is full: free ${shownBytes(roomWantedFor(SQLITE_RESERVE_BYTES))} and start again.`
        : "The file and its directory must be there and writable.";
  return new StartupError(`Cannot open the database ${path}: ${reason}. ${advice}`, { cause: error });
}
