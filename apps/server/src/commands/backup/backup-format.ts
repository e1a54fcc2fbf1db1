// The layout of a backup: names, the manifest, and which tables are in it. Pure. Not here: where it is stored (backup-place.ts).
//
//   blobs/<algorithm>/<2 hex>/<hex> a blob's bytes; shared by all snapshots, written once
//   snapshots/<time>/tables/<table>.jsonl.zst every row of a table: JSON arrays, a line each, in the order of the primary key
//   snapshots/<time>/manifest.json written last: without it there is no snapshot
//   turns/<work>-<id> shows that a backup or a pruning is running (place-lock.ts)
import { createHash, hkdfSync } from "node:crypto";
import { algorithmOf, hexOf, isDigest, type Digest } from "@berth/oci/digest";
import type { BackupRule, Tables } from "../../platform/database/table.ts";
import type { Column } from "../../platform/database/tables.ts";
import { StartupError } from "../../platform/startup-error.ts";

/** Checked by `restore`; raised when an older program could not read a newer backup. */
const FORMAT = 1;

/**
 * The names of tables that declare the rule. A table that this program does not declare, as one of a newer program, is kept, so that
 * nothing is lost.
 */
export function tablesWith(rule: BackupRule, tables: Tables): ReadonlySet<string> {
  return new Set(Object.keys(tables).filter((name) => tables[name]?.backup === rule));
}

/** The most blobs that a backup may lack. If more are missing, run doctor on the store first. */
export const MAX_LOST_BLOBS = 10_000;

/** One table's file. */
export interface TableFile {
  readonly name: string;
  readonly columns: readonly Column[];
  readonly rows: number;
  /** The size of the stored file. */
  readonly sizeBytes: number;
  readonly digest: Digest;
}

/** The manifest of a snapshot. */
export interface SnapshotManifest {
  readonly format: typeof FORMAT;
  /** When the metadata was read: a restore brings back this state. ISO 8601. */
  readonly takenAt: string;
  readonly program: string;
  readonly migrationVersion: number;
  /** `fingerprintOf` the master key that encrypts the secrets in the tables. */
  readonly keyFingerprint: string | undefined;
  /** In the order in which they can be restored. */
  readonly tables: readonly TableFile[];
  readonly idCounters: Readonly<Record<string, number>>;
  readonly blobs: { readonly count: number; readonly sizeBytes: number };
  /** Blobs whose bytes the registry itself had lost: they are restored as damaged, so that a push heals them. */
  readonly lostBlobs: readonly Digest[];
}

const SNAPSHOT_NAME = /^\d{8}T\d{9}Z$/;

/** A snapshot's name: its time in UTC, so that names sort by time. */
export function snapshotNameOf(time: Date): string {
  return time.toISOString().replaceAll(/[-:.]/g, "");
}

/** When a snapshot was taken, by its name. */
export function timeOfSnapshot(name: string): Date {
  return new Date(name.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z$/, "$1-$2-$3T$4:$5:$6.$7Z"));
}

/** The names of complete snapshots among names below `snapshots/`, oldest first. */
export function snapshotsAmong(names: readonly string[]): string[] {
  return names
    .map((name) => /^snapshots\/([^/]+)\/manifest\.json$/.exec(name)?.[1] ?? "")
    .filter((name) => SNAPSHOT_NAME.test(name))
    .toSorted();
}

/** A snapshot's manifest. */
export function manifestName(snapshot: string): string {
  return `snapshots/${snapshot}/manifest.json`;
}

/** A snapshot's file of one table. */
export function tableName(snapshot: string, table: string): string {
  return `snapshots/${snapshot}/tables/${table}.jsonl.zst`;
}

/** A blob's bytes. */
export function blobName(digest: Digest): string {
  const hex = hexOf(digest);
  return `blobs/${algorithmOf(digest)}/${hex.slice(0, 2)}/${hex}`;
}

/** The digest in the name of a blob's file; undefined for any other name. */
export function digestOfBlob(name: string): Digest | undefined {
  const [, algorithm, , hex] = name.split("/");
  const digest = `${algorithm}:${hex}`;
  return isDigest(digest) && blobName(digest) === name ? digest : undefined;
}

/** Whether a name is that of a blob or of a snapshot's file. */
export function isBackupFile(name: string): boolean {
  const [folder, snapshot = ""] = name.split("/");
  return digestOfBlob(name) !== undefined || (folder === "snapshots" && SNAPSHOT_NAME.test(snapshot));
}

/** The manifest's file: the manifest, the digest of its text to detect damage, and its signature (signature.ts), if it has one. */
export function encodeManifest(manifest: SnapshotManifest, signature: string | undefined): Buffer {
  return Buffer.from(`${JSON.stringify({ manifest, digest: digestOfManifest(manifest), signature }, null, 1)}\n`);
}

/** Parses a manifest's file; the signature is not checked. Errors: `StartupError` if it is damaged or of a newer program. */
export function decodeManifest(
  text: string,
  name: string,
): { readonly manifest: SnapshotManifest; readonly signature: string | undefined } {
  let file: { manifest?: SnapshotManifest; digest?: string; signature?: unknown };
  try {
    file = JSON.parse(text) as typeof file;
  } catch (cause) {
    throw new StartupError(`${name} is damaged: it is not JSON`, { cause });
  }
  const { manifest, digest } = file;
  if (manifest === undefined || digest !== digestOfManifest(manifest))
    throw new StartupError(`${name} is damaged: its digest does not fit`);
  if (manifest.format !== FORMAT) {
    throw new StartupError(
      `${name} has format ${String(manifest.format)}, and this program reads ${String(FORMAT)}: use the program that wrote it`,
    );
  }
  for (const table of manifest.tables) {
    // It becomes part of a file's name.
    if (!/^[a-z][a-z0-9_]{0,62}$/.test(table.name) || !isDigest(table.digest)) throw new StartupError(`${name} is not one of Berth's`);
  }
  // A signature that is not a text fits nothing.
  const { signature } = file;
  return { manifest, signature: signature === undefined || typeof signature === "string" ? signature : "" };
}

// JSON.parse keeps the order of properties, so the same text results.
function digestOfManifest(manifest: SnapshotManifest): string {
  return `sha256:${createHash("sha256").update(JSON.stringify(manifest)).digest("hex")}`;
}

/** Identifies a master key without revealing anything of it: equal for equal keys. */
export function fingerprintOf(masterKey: Uint8Array): string {
  return Buffer.from(hkdfSync("sha256", masterKey, new Uint8Array(), "berth backup fingerprint v1", 8)).toString("hex");
}
