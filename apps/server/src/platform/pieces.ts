// Bytes that come in pieces, and a cheap way through them: a promise for each of sixteen thousand pieces of a gigabyte costs as much as
// hashing half of it. A piece is valid until the next one is asked for; who wants it for longer copies it.
// Not here: where pieces come from (http/request-body.ts) and where they go (content/blobs/).

/** Takes one piece; where that takes time, a promise that holds back the next one. */
export type TakePiece = (piece: Uint8Array) => Promise<void> | undefined;

/** Pieces that can also be had without a promise for each. */
export interface PieceSource extends AsyncIterable<Uint8Array> {
  /** Gives every piece that was not read yet to `take`, until the end or a failure, also one of `take`. Nothing is read afterwards. */
  pump(take: TakePiece): Promise<void>;
}

/** Gives every piece to `take`: at once where the source can do that. */
export async function pump(pieces: AsyncIterable<Uint8Array>, take: TakePiece): Promise<void> {
  if ("pump" in pieces) return (pieces as PieceSource).pump(take);
  for await (const piece of pieces) {
    const taken = take(piece);
    if (taken !== undefined) await taken;
  }
}

/**
 * Frees the memory of a piece that nobody will look at again. V8 would do so some time after it has collected the few bytes that stand for it,
 * and marks its whole heap for every 64 MiB that lie outside: half of the processor time of a large upload. Memory that the piece shares with
 * others is left alone.
 */
export function freePiece({ buffer, byteLength }: Uint8Array): void {
  if (byteLength >= LEAST_FREED_BYTES && buffer.byteLength === byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** Freeing costs some 2 µs; less than this is nothing that V8 would hurry for. */
const LEAST_FREED_BYTES = 1024;
