// Checks that a row names everything that the store holds. This is the only code that lists a store.
import type { ListedKey } from "../../content/blobs/blob-store.ts";
import { uploadIdOf } from "../../content/blobs/paths.ts";
import type { DoctorParts } from "./doctor.ts";
import { countStuck, listKnownKeys, listUploads, PAGE, reclaimKey } from "./doctor-store.ts";

const DAY_MS = 86_400_000;

/** Checks all keys of the store, and the queue of keys to be deleted. */
export async function checkStore(parts: DoctorParts): Promise<{ keys: number; keyBytes: number; recentKeys: number }> {
  const { executor, repairs, store, clock } = parts;
  let keys = 0;
  let keyBytes = 0;
  let recentKeys = 0;

  async function checkBatch(batch: readonly ListedKey[]): Promise<void> {
    const uploadIds = batch.map(({ key }) => uploadIdOf(key)).filter((id) => id !== undefined);
    // Uploads are read before blobs: the second statement finds one that is committed between the two.
    const uploads = new Set((await executor.all(listUploads, { ids: uploadIds })).map((row) => row.id));
    const known = new Set((await executor.all(listKnownKeys, { keys: batch.map(({ key }) => key) })).map((row) => row.storage_key));
    for (const { key, sizeBytes, changedAt } of batch) {
      if (known.has(key) || uploads.has(uploadIdOf(key) ?? "")) continue;
      if (clock.now() - changedAt.getTime() < parts.orphanAgeMs) {
        recentKeys++;
        continue;
      }
      // It was deleted after it was listed.
      if ((await store.stat(key)) === undefined) continue;
      if (repairs !== undefined) await reclaimKey(repairs, key, sizeBytes, clock.now() + parts.times.graceMs);
      const detail = `${sizeBytes} bytes of ${changedAt.toISOString()} that nothing names`;
      parts.onProblem({ kind: "key-orphan", subject: key, detail, repositories: [], isRepaired: repairs !== undefined });
    }
  }

  let batch: ListedKey[] = [];
  for await (const listed of store.list?.() ?? []) {
    keys++;
    keyBytes += listed.sizeBytes;
    batch.push(listed);
    if (batch.length < PAGE) continue;
    await checkBatch(batch);
    batch = [];
    parts.onProgress({ phase: "store", done: keys, bytes: keyBytes, after: undefined });
  }
  if (batch.length > 0) await checkBatch(batch);

  const stuck = await executor.first(countStuck, { before: clock.now() - DAY_MS });
  if (Number(stuck?.count ?? 0) > 0) {
    const detail = `${stuck!.count} keys with ${stuck!.bytes ?? 0} bytes should have been deleted a day ago: see the collector's errors in the log`;
    parts.onProblem({ kind: "reclaim-late", subject: "reclaim", detail, repositories: [], isRepaired: false });
  }
  return { keys, keyBytes, recentKeys };
}
