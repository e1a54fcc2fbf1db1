// Bytes that arrive in pieces, and a cheap way to process them: a promise for each of the sixteen thousand pieces of a gigabyte costs as
// much as hashing half of it. A piece is valid until the next one is requested; a caller that keeps it longer copies it.
// Not here: where pieces come from (http/request-body.ts) and where they go (content/blobs/).

/** Takes one piece; if that takes time, it returns a promise that delays the next one. */
export type TakePiece = (piece: Uint8Array) => Promise<void> | undefined;

/** Pieces that can also be read without a promise for each. */
export interface PieceSource extends AsyncIterable<Uint8Array> {
  /** Passes every piece that was not read yet to `take`, until the end or a failure, also one of `take`. Nothing is read afterwards. */
  pump(take: TakePiece): Promise<void>;
}

/** Passes every piece to `take`: synchronously if the source can. */
export async function pump(pieces: AsyncIterable<Uint8Array>, take: TakePiece): Promise<void> {
  if ("pump" in pieces) return (pieces as PieceSource).pump(take);
  for await (const piece of pieces) {
    const taken = take(piece);
    if (taken !== undefined) await taken;
  }
}

/**
 * Frees the memory of a piece that is not needed any more. V8 would free it some time after collecting the small object that refers to it,
 * and marks its whole heap for every 64 MiB of external memory: half of the processor time of a large upload. Shared memory is left alone.
 */
export function freePiece({ buffer, byteLength }: Uint8Array): void {
  if (byteLength >= LEAST_FREED_BYTES && buffer.byteLength === byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** Freeing costs some 2 µs; V8 does not hurry for smaller pieces. */
const LEAST_FREED_BYTES = 1024;
