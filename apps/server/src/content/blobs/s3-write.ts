// Writing one object from a stream of unknown length, and from other objects. Memory is bounded: one part being filled and
// `PARALLEL_PARTS` on their way. Not here: which object (s3.ts), the requests (s3-client.ts).
import { isAbsent } from "./s3-errors.ts";
import type { S3Bucket, UploadedPart } from "./s3-client.ts";
import { RegistryError } from "@berth/oci/errors";

/** Source: Amazon S3 multipart upload limits. */
const MAX_PARTS = 10_000;
// Three parts of 16 MiB fill a connection of several hundred ms and GB/s; each more costs a part of memory per upload.
const PARALLEL_PARTS = 3;
// Copies cost us nothing but a request.
const PARALLEL_COPIES = 8;
// A service may copy up to 5 GiB for one part; pieces of 1 GiB run side by side and stay within every idle timeout.
const COPY_BYTES = 1024 * 1024 * 1024;
const FIRST_BUFFER_BYTES = 64 * 1024;

/** A multipart upload that either completes or is aborted. */
async function multipart(
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
    // The first failure is the one to tell; an upload that stays is found by `abort` and `sweep`.
    await bucket.abortMultipart(name, id).catch(() => undefined);
    throw error;
  }
}

/**
 * Writes a body as an object: in one request where it fits in a part, else in parts. Returns its size; an empty body writes nothing.
 * On a thrown error no request is under way any more.
 */
export async function writeObject(
  bucket: S3Bucket,
  name: string,
  body: AsyncIterable<Uint8Array>,
  partSizeBytes: number,
  onBytes: (piece: Uint8Array) => void,
): Promise<number> {
  let filling: Buffer<ArrayBuffer> = Buffer.alloc(0);
  let filled = 0;
  let sizeBytes = 0;

  /** Fills the buffer from a piece and returns how much of it went in. */
  function take(piece: Uint8Array): number {
    if (filled === filling.length && filling.length < partSizeBytes) {
      // Grown as bytes come: most blobs are far smaller than a part.
      const wanted = Math.max(FIRST_BUFFER_BYTES, filling.length * 2, Math.min(filled + piece.length, partSizeBytes));
      const next = Buffer.allocUnsafeSlow(Math.min(partSizeBytes, wanted));
      filling.copy(next, 0, 0, filled);
      filling = next;
    }
    const count = Math.min(piece.length, filling.length - filled);
    filling.set(piece.subarray(0, count), filled);
    filled += count;
    return count;
  }

  /** Takes pieces until a part is full; what of the last piece did not fit is returned, and undefined at the end of the body. */
  async function fillPart(pieces: AsyncIterator<Uint8Array>, rest: Uint8Array): Promise<Uint8Array | undefined> {
    let piece = rest;
    for (;;) {
      while (piece.length > 0) {
        if (filled === partSizeBytes) return piece;
        piece = piece.subarray(take(piece));
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
      if (sizeBytes > 0) await bucket.put(name, filling.subarray(0, filled));
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
        let number = 0;

        function send(): void {
          if (++number > MAX_PARTS) throw new RegistryError("BLOB_TOO_LARGE", { detail: { maxBytes: MAX_PARTS * partSizeBytes } });
          const part = bucket
            .uploadPart(name, id, number, filling.subarray(0, filled))
            .then((uploaded) => void parts.push(uploaded))
            .catch((error: unknown) => void (failure ??= { error }))
            .finally(() => underWay.delete(part));
          underWay.add(part);
          filling = Buffer.allocUnsafeSlow(partSizeBytes);
          filled = 0;
        }

        try {
          while (rest !== undefined) {
            while (underWay.size >= PARALLEL_PARTS) await Promise.race(underWay);
            if (failure !== undefined) throw failure.error;
            send();
            rest = await fillPart(pieces, rest);
          }
          isDone = true;
          if (filled > 0) {
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
    if (!isDone) await pieces.return?.();
  }
}

/** Puts objects together inside the service. All but the last must have 5 MiB at least. */
export async function joinObjects(
  bucket: S3Bucket,
  name: string,
  sources: readonly { readonly name: string; readonly sizeBytes: number }[],
): Promise<void> {
  const pieces = sources.flatMap((source) => {
    const count = Math.ceil(source.sizeBytes / COPY_BYTES);
    return Array.from({ length: count }, (_, index) => ({
      source: source.name,
      start: Math.floor((source.sizeBytes * index) / count),
      end: Math.floor((source.sizeBytes * (index + 1)) / count) - 1,
    }));
  });
  if (pieces.length > MAX_PARTS) throw new RegistryError("BLOB_TOO_LARGE", { detail: { maxBytes: MAX_PARTS * COPY_BYTES } });
  const sizeBytes = sources.reduce((sum, source) => sum + source.sizeBytes, 0);
  await multipart(
    bucket,
    name,
    () => sizeBytes,
    async (id) => {
      const parts: UploadedPart[] = [];
      const queue = pieces.entries();
      const worker = async (): Promise<void> => {
        for (const [index, { source, start, end }] of queue) parts.push(await bucket.copyPart(name, id, index + 1, source, start, end));
      };
      const results = await Promise.allSettled(Array.from({ length: PARALLEL_COPIES }, worker));
      const failed = results.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      return parts.toSorted((one, other) => one.number - other.number);
    },
  );
}
