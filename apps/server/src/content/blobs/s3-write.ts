// Writes one object from a stream of unknown length. Memory is bounded: for one upload by one part being filled and `PARALLEL_PARTS` being
// sent, for all together by `UploadMemory`. Not here: objects joined from others (s3-join.ts), which object (s3.ts), the requests
// (s3-client.ts).
import { RegistryError } from "@berth/oci/errors";
import type { S3Bucket, UploadedPart } from "./s3-client.ts";
import { isAbsent } from "./s3-errors.ts";
import type { UploadMemory } from "./upload-memory.ts";

/** Source: Amazon S3 multipart upload limits. */
export const MAX_PARTS = 10_000;
// Three parts of 16 MiB fill a connection of several hundred ms and GB/s; each further one costs the memory of a part for each upload.
const PARALLEL_PARTS = 3;
/** Up to this size an upload holds memory without the shared count: the number of concurrent uploads is bounded as well. */
const FREE_BYTES = 64 * 1024;
/** The smallest part except the last. Source: Amazon S3 multipart upload limits. */
export const MIN_PART_BYTES = 5 * 1024 * 1024;
/**
 * Parts of one object that may be smaller than the part size when memory is short. The rest of `MAX_PARTS` still takes the largest blob
 * that the configuration allows.
 */
const MAX_SHORT_PARTS = 1_000;
/** How long a failed upload waits for the removal of its parts; if the service is silent too, a sweep removes them later. */
const ABORT_WAIT_MS = 5_000;

/** How parts are cut. */
export interface PartRules {
  /** The size of a part if memory allows it. */
  readonly sizeBytes: number;
  /** Whether the service accepts parts of different sizes. */
  readonly mayDiffer: boolean;
  /** The memory that all uploads share. */
  readonly memory: UploadMemory;
}

/** A multipart upload that either completes or is aborted. */
export async function multipart(
  bucket: S3Bucket,
  name: string,
  sizeBytes: () => number,
  run: (id: string) => Promise<readonly UploadedPart[]>,
): Promise<void> {
  const id = await bucket.createMultipart(name);
  try {
    const parts = await run(id);
    try {
      await bucket.completeMultipart(name, id, parts);
    } catch (error) {
      // The answer was lost: the second attempt finds no upload, because the first has completed it.
      if (!isAbsent(error)) throw error;
    }
    const stored = await bucket.sizeOf(name);
    if (stored !== sizeBytes()) {
      throw new RegistryError("UNAVAILABLE", { cause: new Error(`${name} has ${stored} bytes after ${sizeBytes()} were sent`) });
    }
  } catch (error) {
    // The first error is reported; `abort` and `sweep` find an upload that stays.
    const enough = Promise.withResolvers<void>();
    const timer = setTimeout(enough.resolve, ABORT_WAIT_MS);
    await Promise.race([bucket.abortMultipart(name, id).catch(() => undefined), enough.promise]);
    clearTimeout(timer);
    throw error;
  }
}

/** A part that is being filled. Its memory is allocated as bytes arrive, because most blobs are far smaller than a part. */
interface Filling {
  readonly bytes: Buffer<ArrayBuffer>;
  readonly filled: number;
  /** The shared memory that it has taken; 0 while it fits into `FREE_BYTES`. */
  readonly taken: number;
}

const EMPTY: Filling = { bytes: Buffer.alloc(0), filled: 0, taken: 0 };

/**
 * Writes a body as an object: in one request if it fits into a part, else in parts. Returns its size; an empty body writes nothing. Waits,
 * without reading on, while other uploads hold the memory that it needs; a waiting upload holds none itself except for parts that are being
 * sent, so the wait ends. When it throws, no request is under way any more. Errors: UNAVAILABLE (also after too long a wait), STORAGE_FULL.
 */
export async function writeObject(
  bucket: S3Bucket,
  name: string,
  body: AsyncIterable<Uint8Array>,
  rules: PartRules,
  onBytes: (piece: Uint8Array) => void,
): Promise<number> {
  const { memory } = rules;
  let filling = EMPTY;
  let sizeBytes = 0;
  let sentParts = 0;
  let shortParts = 0;

  /** Makes room for at least one more byte; false if the part must be sent as it is. */
  async function grow(): Promise<boolean> {
    const { bytes, filled } = filling;
    let { taken } = filling;
    if (bytes.length >= FREE_BYTES || sentParts > 0) {
      if (taken === 0) {
        // All at once, so that no holder of a half-filled part waits for the other half.
        const least = rules.mayDiffer && shortParts < MAX_SHORT_PARTS ? Math.min(MIN_PART_BYTES, rules.sizeBytes) : rules.sizeBytes;
        // An upload of many parts fills whole ones; the first may be the only one.
        const isWhole = sentParts > 0 && memory.tryTake(rules.sizeBytes);
        if (!isWhole) await memory.take(least);
        taken = isWhole ? rules.sizeBytes : least;
      } else if (bytes.length === taken) {
        if (taken === rules.sizeBytes || !memory.tryTake(rules.sizeBytes - taken)) return false;
        taken = rules.sizeBytes;
      }
    }
    const wanted = sentParts > 0 ? taken : Math.min(Math.max(FREE_BYTES, bytes.length * 2), taken === 0 ? FREE_BYTES : taken);
    // Recorded before the allocation, so that the memory is returned in any case.
    filling = { bytes, filled, taken };
    const next = Buffer.allocUnsafeSlow(Math.min(wanted, rules.sizeBytes));
    bytes.copy(next, 0, 0, filled);
    filling = { bytes: next, filled, taken };
    return true;
  }

  /** Takes pieces until a part is full; returns the rest of the last piece, or undefined at the end of the body. */
  async function fillPart(pieces: AsyncIterator<Uint8Array>, rest: Uint8Array): Promise<Uint8Array | undefined> {
    let piece = rest;
    for (;;) {
      while (piece.length > 0) {
        if (filling.filled === filling.bytes.length && !(await grow())) return piece;
        const { bytes, filled, taken } = filling;
        const count = Math.min(piece.length, bytes.length - filled);
        bytes.set(piece.subarray(0, count), filled);
        filling = { bytes, filled: filled + count, taken };
        piece = piece.subarray(count);
      }
      const next = await pieces.next();
      if (next.done === true) return undefined;
      piece = next.value;
      onBytes(piece);
      sizeBytes += piece.length;
    }
  }

  const pieces = body[Symbol.asyncIterator]();
  let isDone = false;
  try {
    let rest = await fillPart(pieces, Buffer.alloc(0));
    if (rest === undefined) {
      isDone = true;
      if (sizeBytes > 0) await bucket.put(name, filling.bytes.subarray(0, filling.filled));
      return sizeBytes;
    }
    await multipart(
      bucket,
      name,
      () => sizeBytes,
      async (id) => {
        const parts: UploadedPart[] = [];
        const underWay = new Set<Promise<unknown>>();
        let failure: { readonly error: unknown } | undefined;

        function send(): void {
          const number = sentParts + 1;
          if (number > MAX_PARTS) throw new RegistryError("BLOB_TOO_LARGE", { detail: { maxBytes: MAX_PARTS * rules.sizeBytes } });
          const { bytes, filled, taken } = filling;
          if (filled < rules.sizeBytes) shortParts++;
          const part = bucket
            .uploadPart(name, id, number, bytes.subarray(0, filled))
            .then((uploaded) => void parts.push(uploaded))
            .catch((error: unknown) => void (failure ??= { error }))
            .finally(() => {
              underWay.delete(part);
              memory.give(taken);
            });
          underWay.add(part);
          sentParts = number;
          filling = EMPTY;
        }

        try {
          while (rest !== undefined) {
            while (underWay.size >= PARALLEL_PARTS) await Promise.race(underWay);
            if (failure !== undefined) throw failure.error;
            send();
            rest = await fillPart(pieces, rest);
          }
          isDone = true;
          if (filling.filled > 0) {
            while (underWay.size >= PARALLEL_PARTS) await Promise.race(underWay);
            send();
          }
        } finally {
          await Promise.all(underWay);
        }
        if (failure !== undefined) throw failure.error;
        return parts.toSorted((one, other) => one.number - other.number);
      },
    );
    return sizeBytes;
  } finally {
    memory.give(filling.taken);
    if (!isDone) await pieces.return?.();
  }
}
