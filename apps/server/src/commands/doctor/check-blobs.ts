// Checks every blob's bytes: that they exist, that their size is right, and, in a deep check, that their digest is.
import { algorithmOf, createHasher, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { createBlobs } from "../../content/blobs.ts";
import type { StorageKey } from "../../content/blobs/blob-store.ts";
import { forEachParallel } from "../../platform/parallel.ts";
import type { DoctorParts, ProblemKind } from "./doctor.ts";
import { clearDamageMark, findBlob, listBlobs, listRepositoriesOf, PAGE, readInline } from "./doctor-store.ts";

/** Requests to the store in flight at a time. */
const PARALLEL_STATS = 16;
/** Two, so that hashing one blob overlaps with waiting for another; they share the rate limiter. */
const PARALLEL_READS = 2;

interface Blob {
  readonly id: number;
  readonly digest: string;
  readonly size_bytes: number;
  readonly storage_key: string | null;
  readonly damaged_at: number | null;
  readonly inline_bytes: number | null;
}

/** A problem with a blob's bytes, as text. */
type Finding = { readonly kind: ProblemKind; readonly detail: string } | undefined;

/** Checks all blobs, by id. */
export async function checkBlobs(parts: DoctorParts): Promise<{ blobs: number; blobBytes: number; readBytes: number }> {
  const { executor, repairs, store, clock, rateLimiter } = parts;
  let blobs = 0;
  let blobBytes = 0;
  let readBytes = 0;

  async function look(blob: Blob): Promise<Finding> {
    if (blob.storage_key === null) return blob.inline_bytes === null ? missing() : sized(blob, Number(blob.inline_bytes));
    const found = await store.stat(blob.storage_key as StorageKey);
    return found === undefined ? missing() : sized(blob, found.sizeBytes);
  }

  async function* bytesOf(blob: Blob): AsyncGenerator<Uint8Array> {
    if (blob.storage_key !== null) yield* store.read(blob.storage_key as StorageKey, 0, blob.size_bytes - 1);
    else yield (await executor.first(readInline, { id: blob.id }))?.bytes ?? new Uint8Array();
  }

  async function read(blob: Blob): Promise<Finding> {
    const hasher = createHasher(algorithmOf(blob.digest as Digest));
    try {
      for await (const piece of bytesOf(blob)) {
        hasher.update(piece);
        readBytes += piece.length;
        await rateLimiter(piece.length);
      }
    } catch (error) {
      if (!(error instanceof RegistryError) || error.code !== "BLOB_DAMAGED") throw error;
      return { kind: "blob-missing", detail: "its bytes could not be read to their end" };
    }
    const digest = hasher.digest();
    return digest === blob.digest ? undefined : { kind: "blob-rotten", detail: `its bytes have the digest ${digest}` };
  }

  /** Whether the row is unchanged: otherwise the blob was deleted or pushed meanwhile. */
  async function isSame(blob: Blob): Promise<boolean> {
    const now = await executor.first(findBlob, { id: blob.id });
    return now !== undefined && now.storage_key === blob.storage_key && (now.damaged_at === null) === (blob.damaged_at === null);
  }

  async function check(blob: Blob): Promise<void> {
    const finding = (await look(blob)) ?? (parts.isDeep ? await read(blob) : undefined);
    const isMarked = blob.damaged_at !== null;
    const isWell = finding === undefined;
    // Only a deep check can prove that a marked blob is intact.
    if ((isWell && !isMarked) || !(await isSame(blob))) return;
    const repositories = (await executor.all(listRepositoriesOf, { blobId: blob.id })).map((row) => row.name);
    const subject = blob.digest;
    if (isWell && parts.isDeep) {
      const isRepaired = repairs !== undefined && (await clearDamageMark(repairs, blob.id, blob.storage_key));
      const detail = "it was marked damaged, but its bytes are whole";
      parts.onProblem({ kind: "blob-well", subject, detail, repositories, isRepaired });
    } else if (isMarked) {
      const detail = `marked damaged at ${new Date(blob.damaged_at).toISOString()}: push it again`;
      parts.onProblem({ kind: "blob-damaged", subject, detail, repositories, isRepaired: false });
    } else if (finding !== undefined) {
      if (repairs !== undefined) await markDamaged(blob);
      parts.onProblem({ ...finding, subject, repositories, isRepaired: repairs !== undefined });
    }
  }

  async function markDamaged(blob: Blob): Promise<void> {
    const key = (blob.storage_key ?? undefined) as StorageKey | undefined;
    const row = { id: blob.id, digest: blob.digest as Digest, sizeBytes: blob.size_bytes, key };
    await createBlobs(repairs!, clock, parts.times).markDamaged(row);
  }

  let after = parts.fromId;
  for (;;) {
    const page: Blob[] = await executor.all(listBlobs, { after });
    await forEachParallel(each(page), parts.isDeep ? PARALLEL_READS : PARALLEL_STATS, async (blob) => {
      await check(blob);
      blobs++;
      blobBytes += blob.size_bytes;
      parts.onProgress({ phase: "blobs", done: blobs, bytes: readBytes, after });
    });
    after = page.at(-1)?.id ?? after;
    if (page.length < PAGE) return { blobs, blobBytes, readBytes };
  }
}

const missing = (): Finding => ({ kind: "blob-missing", detail: "its bytes are not there" });

function sized(blob: Blob, sizeBytes: number): Finding {
  return sizeBytes === blob.size_bytes
    ? undefined
    : { kind: "blob-wrong-size", detail: `it has ${sizeBytes} bytes and should have ${blob.size_bytes}` };
}

async function* each<T>(list: readonly T[]): AsyncGenerator<T, void, void> {
  yield* list;
}
