// Deletes old snapshots of a place, and the bytes that only they named. A snapshot is deleted by its manifest, which goes first; then every
// file that no remaining snapshot names is deleted. Those files are found by listing, so that a run also deletes what an interrupted one
// left. A remaining snapshot is read completely before anything of another one is deleted. Not here: names (backup-format.ts), the lock of
// a place (place-lock.ts).
import { hexOf, parseDigest } from "@berth/oci/digest";
import type { Clock } from "../../platform/clock.ts";
import { StartupError } from "../../platform/startup-error.ts";
import { digestOfBlob, manifestName, timeOfSnapshot } from "./backup-format.ts";
import type { BackupPlace } from "./backup-place.ts";
import { readBlobEntries } from "./blob-entries.ts";
import { listSnapshots, readSnapshot } from "./restore.ts";
import { verifyTableFiles } from "./table-files.ts";
import { takePlaceLock, type PlaceLock } from "./place-lock.ts";

/** Which snapshots stay: those that either rule keeps, and the newest in any case. */
export interface KeepRule {
  /** That many of the newest. */
  readonly newest?: number | undefined;
  /** Those taken since this time. */
  readonly since?: Date | undefined;
}

/** The progress of a pruning. */
export interface PruneProgress {
  readonly phase: "kept snapshots" | "bytes";
  readonly done: number;
}

/** The parts that a pruning needs. */
export interface PruneParts {
  readonly place: BackupPlace;
  readonly clock: Clock;
  readonly keep: KeepRule;
  /** Only reports what would be deleted. */
  readonly isDryRun: boolean;
  readonly onProgress: (progress: PruneProgress) => void;
}

/** The result of a pruning. */
export interface PruneResult {
  readonly keptSnapshots: readonly string[];
  readonly deletedSnapshots: readonly string[];
  readonly deletedBlobs: number;
  readonly deletedBytes: number;
  /** Files of incomplete snapshots, and of interrupted writes. */
  readonly deletedLeftovers: number;
}

/** Files that are deleted at a time; the lock is checked before each batch. */
const BATCH = 500;

/** Which of the snapshots, given oldest first, the rule keeps. Pure. */
export function keptOf(snapshots: readonly string[], { newest = 1, since }: KeepRule): string[] {
  const from = snapshots.length - Math.max(1, newest);
  return snapshots.filter((name, at) => at >= from || (since !== undefined && timeOfSnapshot(name) >= since));
}

/** Prunes a place. Errors: `StartupError` if a backup is running there or a remaining snapshot is damaged; UNAVAILABLE. */
export async function pruneBackups(parts: PruneParts): Promise<PruneResult> {
  const { place, clock, isDryRun } = parts;
  if (isDryRun) return await prune(parts, undefined);
  const lock = await takePlaceLock(place, "prune", clock);
  try {
    return await prune(parts, lock);
  } finally {
    await lock.end();
    await place.sync();
  }
}

async function prune(parts: PruneParts, lock: PlaceLock | undefined): Promise<PruneResult> {
  const { place, onProgress } = parts;
  const all = await listSnapshots(place);
  if (all.length === 0) throw new StartupError(`${place.shown} holds no complete backup`);
  const kept = new Set(keptOf(all, parts.keep));
  const live = createDigestSet();
  let done = 0;
  for (const name of kept) {
    const { manifest } = await readSnapshot(place, name);
    await verifyTableFiles(place, name, manifest.tables);
    for await (const { digest } of readBlobEntries(place, name, manifest.tables)) live.add(digest);
    live.mergeRecent();
    onProgress({ phase: "kept snapshots", done: ++done });
  }

  const result = { deletedBlobs: 0, deletedBytes: 0, deletedLeftovers: 0 };
  let seen = 0;
  let batch: string[] = [];
  async function flush(): Promise<void> {
    const names = batch;
    batch = [];
    if (names.length === 0 || lock === undefined) return;
    await lock.check();
    await place.delete(names);
    onProgress({ phase: "bytes", done: seen });
  }
  async function remove(name: string): Promise<void> {
    seen++;
    batch.push(name);
    if (batch.length >= BATCH) await flush();
  }
  const deletedSnapshots = all.filter((name) => !kept.has(name));
  for (const name of deletedSnapshots) await remove(manifestName(name));
  await flush();
  // A manifest that comes back after a power cut must not lack its bytes.
  await place.sync();
  for await (const name of place.list("snapshots/")) {
    const snapshot = name.split("/")[1] ?? "";
    if (kept.has(snapshot) || name === manifestName(snapshot)) continue;
    if (!deletedSnapshots.includes(snapshot)) result.deletedLeftovers++;
    await remove(name);
  }
  for await (const { name, sizeBytes } of place.listSized("blobs/")) {
    const digest = digestOfBlob(name);
    if (digest === undefined || live.has(digest)) continue;
    result.deletedBlobs++;
    result.deletedBytes += sizeBytes;
    await remove(name);
  }
  await flush();
  for await (const left of place.listUnfinished()) {
    result.deletedLeftovers++;
    await lock?.check();
    if (lock !== undefined) await left.remove();
  }
  await place.sync();
  return { keptSnapshots: [...kept], deletedSnapshots, ...result };
}

/**
 * A set of digests that needs 8 bytes for each: their first 48 bits, as a number. With ten million blobs a collision is less likely than
 * one in ten million, and only keeps a dead blob.
 */
function createDigestSet() {
  let values = new Float64Array(0);
  let recent: number[] = [];
  const numberOf = (digest: string): number => Number.parseInt(hexOf(parseDigest(digest)).slice(0, 12), 16);
  return {
    add(digest: string): void {
      recent.push(numberOf(digest));
      // Large enough that merging is rare, small enough to sort quickly.
      if (recent.length >= 1_000_000) this.mergeRecent();
    },
    /** Makes added digests visible to `has`. */
    mergeRecent(): void {
      const merged = new Float64Array(values.length + recent.length);
      merged.set(values);
      merged.set(recent, values.length);
      merged.sort();
      let length = 0;
      for (const value of merged) if (length === 0 || merged[length - 1] !== value) merged[length++] = value;
      values = merged.slice(0, length);
      recent = [];
    },
    has(digest: string): boolean {
      const wanted = numberOf(digest);
      let [low, high] = [0, values.length - 1];
      while (low <= high) {
        const middle = (low + high) >> 1;
        const value = values[middle]!;
        if (value === wanted) return true;
        if (value < wanted) low = middle + 1;
        else high = middle - 1;
      }
      return false;
    },
  };
}
