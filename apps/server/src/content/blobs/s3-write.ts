// Writing one object from a stream of unknown length. Memory is bounded: for one upload by one part being filled and
// `PARALLEL_PARTS` on their way, for all together by `UploadMemory`. Not here: objects made of others (s3-join.ts), which object (s3.ts), the requests (s3-client.ts).
import { RegistryError } from "@berth/oci/errors";
import type { S3Bucket, UploadedPart } from "./s3-client.ts";
import { isAbsent } from "./s3-errors.ts";
import type { UploadMemory } from "./upload-memory.ts";

/** Source: Amazon S3 multipart upload limits. */
export const MAX_PARTS = 10_000;
// Three parts of 16 MiB fill a connection of several hundred ms and GB/s; each more costs a part of memory per upload.
const PARALLEL_PARTS = 3;
/** So much of an upload is held without asking: the number of uploads at a time is bounded as well. */
const FREE_BYTES = 64 * 1024;
/** The least that a part may have that is not the last one. Source: Amazon S3 multipart upload limits. */
export const MIN_PART_BYTES = 5 * 1024 * 1024;
/**
 * Parts of one object that may be short of the part size because memory is short. The rest of `MAX_PARTS` still takes the largest blob
 * that the configuration allows.
 */
const MAX_SHORT_PARTS = 1_000;
/** How long a failed upload waits until its parts are thrown away; where the service is silent too, a sweep does it later. */
const ABORT_WAIT_MS = 5_000;

/** How parts are cut. */
export interface PartRules {
  /** Size of a part where memory allows it. */
  readonly sizeBytes: number;
  /** Whether the service takes parts of different sizes. */
  readonly mayDiffer: boolean;
  /** What all uploads share. */
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
      // An answer that was lost: the second try finds no upload, because the first has made the object.
      if (!isAbsent(error)) throw error;
    }
    const stored = await bucket.sizeOf(name);
    if (stored !== sizeBytes()) {
      throw new RegistryError("UNAVAILABLE", { cause: new Error(`${name} has ${stored} bytes after ${sizeBytes()} were sent`) });
    }
  } catch (error) {
    // The first failure is the one to report; an upload that stays is found by `abort` and `sweep`.
    const enough = Promise.withResolvers<void>();
    const timer = setTimeout(enough.resolve, ABORT_WAIT_MS);
    await Promise.race([bucket.abortMultipart(name, id).catch(() => undefined), enough.promise]);
    clearTimeout(timer);
    throw error;
  }
}

/** A part that is being filled. Its memory is asked for as bytes come: most blobs are far smaller than a part. */
interface Filling {
  readonly bytes: Buffer<ArrayBuffer>;
  readonly filled: number;
  /** What of the shared memory it may take; 0 while it lives within `FREE_BYTES`. */
  readonly taken: number;
}

const EMPTY: Filling = { bytes: Buffer.alloc(0), filled: 0, taken: 0 };

/**
 * Writes a body as an object: in one request where it fits in a part, else in parts. Returns its size; an empty body writes nothing.
 * Waits, without reading on, while other uploads hold the memory that it needs; what waits holds none itself but for parts that are on their
 * way, so the wait ends. On a thrown error no request is under way any more. Errors: UNAVAILABLE (also after too long a wait), STORAGE_FULL.
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

  /** Makes room for at least one more byte; false where the part must go as it is. */
  async function grow(): Promise<boolean> {
    const { bytes, filled } = filling;
    let { taken } = filling;
    if (bytes.length >= FREE_BYTES || sentParts > 0) {
      if (taken === 0) {
        // At once, so that nobody who holds a half-filled part waits for the other half.
        const least = rules.mayDiffer && shortParts < MAX_SHORT_PARTS ? Math.min(MIN_PART_BYTES, rules.sizeBytes) : rules.sizeBytes;
        // An upload of many parts fills them whole; the first may be the only one.
        const isWhole = sentParts > 0 && memory.tryTake(rules.sizeBytes);
        if (!isWhole) await memory.take(least);
        taken = isWhole ? rules.sizeBytes : least;
      } else if (bytes.length === taken) {
        if (taken === rules.sizeBytes || !memory.tryTake(rules.sizeBytes - taken)) return false;
        taken = rules.sizeBytes;
      }
    }
    const wanted = sentParts > 0 ? taken : Math.min(Math.max(FREE_BYTES, bytes.length * 2), taken === 0 ? FREE_BYTES : taken);
    // Noted before the allocation: what was taken is given back whatever comes.
    filling = { bytes, filled, taken };
    const next = Buffer.allocUnsafeSlow(Math.min(wanted, rules.sizeBytes));
    bytes.copy(next, 0, 0, filled);
    filling = { bytes: next, filled, taken };
    return true;
  }

  /** Takes pieces until a part is full; what of the last piece did not fit is returned, and undefined at the end of the body. */
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
