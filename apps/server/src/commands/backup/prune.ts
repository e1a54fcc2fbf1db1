// Forgetting old snapshots of a place, and the bytes that only they named. A snapshot goes with its manifest, which is deleted first; then
// whatever no remaining snapshot names goes, found by listing, so that what a run leaves that was cut off, the next one takes. A snapshot that
// stays is read whole before anything of another one is deleted. Not here: names (backup-format.ts), who may work in a place (place-lock.ts).
import { hexOf, parseDigest } from "@berth/oci/digest";
import type { Clock } from "../../platform/clock.ts";
import { StartupError } from "../../platform/startup-error.ts";
import { digestOfBlob, manifestName, timeOfSnapshot } from "./backup-format.ts";
import type { BackupPlace } from "./backup-place.ts";
import { readBlobEntries } from "./blob-entries.ts";
import { listSnapshots, readSnapshot } from "./restore.ts";
import { verifyTableFiles } from "./table-files.ts";
import { takePlaceLock, type PlaceLock } from "./place-lock.ts";

/** Which snapshots stay: what either rule keeps, and the newest in any case. */
export interface KeepRule {
  /** So many of the newest. */
  readonly newest?: number | undefined;
  /** Those taken since. */
  readonly since?: Date | undefined;
}

/** How far it is. */
export interface PruneProgress {
  readonly phase: "kept snapshots" | "bytes";
  readonly done: number;
}

/** What a pruning needs. */
export interface PruneParts {
  readonly place: BackupPlace;
  readonly clock: Clock;
  readonly keep: KeepRule;
  /** Only reports what would go. */
  readonly isDryRun: boolean;
  readonly onProgress: (progress: PruneProgress) => void;
}

/** What came of it. */
export interface PruneResult {
  readonly keptSnapshots: readonly string[];
  readonly deletedSnapshots: readonly string[];
  readonly deletedBlobs: number;
  readonly deletedBytes: number;
  /** Files of snapshots that were never completed, and of writes that were cut off. */
  readonly deletedLeftovers: number;
}

/** Files that are deleted at a time; before each the lock is looked at. */
const BATCH = 500;

/** Which of the snapshots, given oldest first, the rule keeps. Pure. */
export function keptOf(snapshots: readonly string[], { newest = 1, since }: KeepRule): string[] {
  const from = snapshots.length - Math.max(1, newest);
  return snapshots.filter((name, at) => at >= from || (since !== undefined && timeOfSnapshot(name) >= since));
}

/** Prunes a place. Errors: `StartupError` where a backup is under way there or a snapshot that stays is damaged; UNAVAILABLE. */
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
  // A manifest that came back after a power cut must not find its bytes gone.
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
 * A set of digests that needs 8 bytes for each: their first 48 bits, as a number. That two agree in these is less likely than one in ten
 * million with ten million blobs, and then a dead blob stays.
 */
function createDigestSet() {
  let values = new Float64Array(0);
  let recent: number[] = [];
  const numberOf = (digest: string): number => Number.parseInt(hexOf(parseDigest(digest)).slice(0, 12), 16);
  return {
    add(digest: string): void {
      recent.push(numberOf(digest));
      // So many that merging is rare, few enough to be small.
      if (recent.length >= 1_000_000) this.mergeRecent();
    },
    /** Makes what was added known to `has`. */
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
