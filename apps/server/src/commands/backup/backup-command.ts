// The roles `backup` and `restore`: what they open, and their reports. Not here: the work (backup.ts, restore.ts), arguments (main.ts).
import { join } from "node:path";
import { findMasterKey, loadOrCreateMasterKey, parseMasterKey } from "../../access/master-key.ts";
import type { Config } from "../../config.ts";
import type { BlobStore } from "../../content/blobs/blob-store.ts";
import { MARK_NAME } from "../../content/blobs/paths.ts";
import { S3_DIALECTS } from "../../content/blobs/s3-dialects.ts";
import { requireOwnStore } from "../../content/store-binding.ts";
import { systemClock } from "../../platform/clock.ts";
import { openDataDirectory } from "../../platform/data-directory.ts";
import type { Database } from "../../platform/database/database.ts";
import type { DatabaseReader } from "../../platform/database/database-reader.ts";
import type { Tables } from "../../platform/database/table.ts";
import { disposable } from "../../platform/disposable.ts";
import type { Logger } from "../../platform/log.ts";
import { shownBytes, type Report } from "../../platform/report.ts";
import { StartupError, UsageError } from "../../platform/startup-error.ts";
import { takeBackup } from "./backup.ts";
import { openPlace, parsePlace, type BackupPlace } from "./backup-place.ts";
import { pruneBackups, type PruneProgress } from "./prune.ts";
import { stateOfSignature, type SignatureState } from "./signature.ts";
import {
  checkBackup,
  listSnapshots,
  openSnapshot,
  readSnapshot,
  restoreBackup,
  type RestoreProgress,
  type RestoreResult,
} from "./restore.ts";

/** The parts that every command on a place gets. */
export interface PlaceParts {
  readonly config: Config;
  readonly report: Report;
  /** The file of the master key in the data directory. */
  readonly keyFile: string;
}

/** The parts that the commands get: openers for what the configuration names, and the report. */
export interface CommandParts extends PlaceParts {
  readonly logger: Logger;
  readonly program: string;
  readonly tables: Tables;
  openDatabase(config: Config, logger: Logger): Promise<Database>;
  openReader(config: Config, logger: Logger): Promise<DatabaseReader>;
  openStore(config: Config): Promise<BlobStore>;
  /** The configured store's name for messages. */
  nameStore(config: Config): string;
}

/** Blobs that backup and restore copy at a time: enough to hide a store's latency, few enough to hold S3 parts in memory. */
const PARALLEL_COPIES = 8;
const DAY_MS = 86_400_000;

function openPlaceOf(config: Config, place: string): Promise<BackupPlace> {
  return openPlace(parsePlace(place, config.storage.s3, Object.keys(S3_DIALECTS)));
}

/** The layout of a store is much like that of a backup, so pruning would delete every blob that no snapshot names. Errors: `StartupError`. */
async function refuseStoreAsPlace(place: BackupPlace): Promise<void> {
  if ((await place.sizeOf(MARK_NAME)) === undefined) return;
  throw new StartupError(`${place.shown} is the blob store of a registry, and no place for backups`);
}

/** The secret key, if it is known here. */
async function findKey({ config, keyFile }: PlaceParts): Promise<Uint8Array | undefined> {
  const { secretKey } = config.auth;
  return secretKey === undefined ? findMasterKey(join(config.data, keyFile)) : parseMasterKey(secretKey);
}

/** Takes a backup; false if the registry has lost blobs. Errors: `StartupError` and those of `takeBackup`. */
export async function runBackup(parts: CommandParts, placeText: string): Promise<boolean> {
  const { config, logger, report } = parts;
  await using place = disposable(await openPlaceOf(config, placeText));
  await using reader = disposable(await parts.openReader(config, logger));
  await using store = disposable(await parts.openStore(config));
  await refuseStoreAsPlace(place.it);
  // With another store nearly every blob would be missing, and the next pruning would delete those that older snapshots have.
  await requireOwnStore(reader.it.live, store.it, parts.nameStore(config));
  const result = await takeBackup({
    tables: parts.tables,
    reader: reader.it,
    store: store.it,
    place: place.it,
    clock: systemClock,
    program: parts.program,
    masterKey: await findKey(parts),
    parallel: PARALLEL_COPIES,
    onProgress: (state) =>
      report.progress(
        "progress",
        state,
        () => `${state.phase}: ${state.done}, copied ${state.copiedBlobs} blobs, ${shownBytes(state.copiedBytes)}`,
      ),
  });
  for (const digest of result.lostBlobs) report.line("lost", { digest }, `the registry has lost ${digest}: it is not in the backup`);
  report.line(
    "complete",
    result,
    `snapshot ${result.snapshot} is complete: ${result.rows} rows, ${result.blobs} blobs (${shownBytes(result.blobBytes)}), ` +
      `of which ${result.copiedBlobs} (${shownBytes(result.copiedBytes)}) were new; ${result.lostBlobs.length} lost. ` +
      "The secret key is not part of it: keep that elsewhere.",
  );
  if (!result.isSigned) report.warning(`snapshot ${result.snapshot} is not signed: the secret key is not known here`);
  return result.lostBlobs.length === 0;
}

const SIGNATURES: Readonly<Record<SignatureState, string>> = {
  good: "signed",
  absent: "not signed",
  wrong: "ITS SIGNATURE DOES NOT FIT",
  unknown: "signed with a key that is not known here",
};

/** Lists the snapshots of a place. */
export async function runBackupList(parts: PlaceParts, placeText: string): Promise<boolean> {
  const { config, report } = parts;
  const masterKey = await findKey(parts);
  await using place = disposable(await openPlaceOf(config, placeText));
  await place.it.requireThere();
  for (const name of await listSnapshots(place.it)) {
    const opened = await readSnapshot(place.it, name);
    const { manifest } = opened;
    const signature = stateOfSignature(opened, masterKey);
    const { takenAt, program, migrationVersion, blobs, lostBlobs } = manifest;
    const shown = {
      snapshot: name,
      takenAt,
      program,
      migrationVersion,
      blobs: blobs.count,
      blobBytes: blobs.sizeBytes,
      lost: lostBlobs.length,
      signature,
    };
    report.line(
      "snapshot",
      shown,
      `${name}  taken at ${takenAt} by ${program}, database version ${migrationVersion}: ${blobs.count} blobs (${shownBytes(blobs.sizeBytes)}), ${lostBlobs.length} lost; ${SIGNATURES[signature]}`,
    );
  }
  return true;
}

/** The options of a pruning on the command line. */
export interface PruneOptions {
  /** As they were typed. */
  readonly keep: string | undefined;
  readonly keepDays: string | undefined;
  readonly isDryRun: boolean;
  /** Asks for confirmation before anything is deleted, with a function that shows what would be; rejects if it is refused. */
  agree(showWhatGoes: () => Promise<void>): Promise<void>;
}

/** Deletes old snapshots. Errors: `StartupError` and those of `pruneBackups`. */
export async function runBackupPrune({ config, report }: PlaceParts, placeText: string, options: PruneOptions): Promise<boolean> {
  const newest = wholeNumber("--keep", options.keep);
  const days = wholeNumber("--keep-days", options.keepDays);
  if (newest === undefined && days === undefined) throw new UsageError("say what is to stay: --keep N, --keep-days N, or both");
  const keep = { newest, since: days === undefined ? undefined : new Date(systemClock.now() - days * DAY_MS) };
  await using place = disposable(await openPlaceOf(config, placeText));
  await place.it.requireThere();
  await refuseStoreAsPlace(place.it);
  async function prune(isDryRun: boolean): Promise<void> {
    const onProgress = (state: PruneProgress): void => report.progress("progress", state, () => `${state.phase}: ${state.done}`);
    const result = await pruneBackups({ place: place.it, clock: systemClock, keep, isDryRun, onProgress });
    const verb = isDryRun ? "would delete" : "deleted";
    for (const snapshot of result.deletedSnapshots) report.line("deleted", { snapshot }, `${verb} snapshot ${snapshot}`);
    report.line(
      "pruned",
      result,
      `${verb} ${result.deletedSnapshots.length} snapshots, ${result.deletedBlobs} blobs (${shownBytes(result.deletedBytes)}) ` +
        `and ${result.deletedLeftovers} left-over files; ${result.keptSnapshots.length} snapshots stay`,
    );
  }
  if (!options.isDryRun) await options.agree(() => prune(true));
  await prune(options.isDryRun);
  return true;
}

/** More than any number of snapshots or days in use. */
const MAX_KEEP = 100_000;

function wholeNumber(flag: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > MAX_KEEP) throw new UsageError(`${flag} is a number from 1 to ${MAX_KEEP}`);
  return value;
}

/** Parses a moment of the command line: ISO 8601, in UTC if it names no zone. */
function momentOf(text: string): Date {
  const hasZone = /(?:Z|[+-]\d\d:?\d\d)$/i.test(text);
  const moment = new Date(hasZone || !text.includes("T") ? text : `${text}Z`);
  if (!/^\d{4}-\d\d-\d\d/.test(text) || Number.isNaN(moment.getTime())) {
    throw new UsageError(`--at ${text}: is not a moment as in 2026-11-23T08:30:00Z`);
  }
  return moment;
}

/** Restores a backup, or verifies it; false if blobs are damaged. Errors: `StartupError` and those of `restoreBackup`. */
export async function runRestore(
  parts: CommandParts,
  placeText: string,
  options: {
    readonly snapshot: string | undefined;
    readonly at: string | undefined;
    readonly isCheck: boolean;
    readonly withNewKey: boolean;
    /** Refuses an unsigned snapshot. */
    readonly isSigned: boolean;
    /** Accepts a snapshot whatever its signature. */
    readonly isUnsigned: boolean;
  },
): Promise<boolean> {
  const { config, logger, report } = parts;
  if (options.snapshot !== undefined && options.at !== undefined) throw new UsageError("say either --snapshot or --at");
  if (options.isSigned && options.isUnsigned) throw new UsageError("say either --signed or --unsigned");
  const at = options.at === undefined ? undefined : momentOf(options.at);
  await using place = disposable(await openPlaceOf(config, placeText));
  await place.it.requireThere();
  const common = {
    place: place.it,
    snapshot: options.snapshot,
    at,
    signature: options.isUnsigned ? ("ignored" as const) : options.isSigned ? ("required" as const) : ("known" as const),
    onWarning: report.warning,
    parallel: PARALLEL_COPIES,
    onProgress: (state: RestoreProgress) =>
      report.progress("progress", state, () => `${state.phase}: ${state.done} of ${state.total}, ${shownBytes(state.bytes)}`),
  };
  const reportResult = (result: RestoreResult, verb: string): boolean => {
    for (const digest of result.damagedBlobs) report.line("damaged", { digest }, `${digest} is not whole in the backup`);
    report.line(
      options.isCheck ? "checked" : "restored",
      result,
      `${verb} snapshot ${result.snapshot}, taken at ${result.takenAt}: ${result.rows} rows, ${result.blobs} blobs (${shownBytes(result.blobBytes)}); ` +
        `${result.damagedCount} damaged, ${result.knownDamaged} were damaged before`,
    );
    return result.damagedCount === 0;
  };
  if (options.isCheck) return reportResult(await checkBackup({ ...common, masterKey: await findKey(parts) }), "verified");
  // The snapshot is opened before anything is created for it.
  await openSnapshot(place.it, options.snapshot, at);
  const directory = await openDataDirectory(config.data);
  try {
    const { secretKey } = config.auth;
    const masterKey =
      secretKey === undefined ? await loadOrCreateMasterKey(join(directory.path, parts.keyFile)) : parseMasterKey(secretKey);
    await using database = disposable(await parts.openDatabase(config, logger));
    await using store = disposable(await parts.openStore(config));
    const target = {
      tables: parts.tables,
      database: database.it,
      store: store.it,
      shown: parts.nameStore(config),
      inlineMaxBytes: config.storage.inlineMaxBytes,
    };
    return reportResult(
      await restoreBackup({ ...common, ...target, clock: systemClock, masterKey, withNewKey: options.withNewKey }),
      "restored",
    );
  } finally {
    directory.close();
  }
}
