// How the reads of many streams share memory. Not here: reads and writes of files in general (blob-store.contract.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { createBufferPool, PIECE_BYTES } from "./buffer-pool.ts";
import { readPieces } from "./file-pieces.ts";

const SIZE_BYTES = 3 * PIECE_BYTES + 5;
/** Every byte is the low byte of its position. */
const read = async (buffer: Uint8Array, length: number, position: number): Promise<number> => {
  for (let i = 0; i < length; i++) buffer[i] = (position + i) & 255;
  return length;
};

it("file pieces: gives the streams that come on top of many small pieces, and the same bytes, until others have ended", async () => {
  const pool = createBufferPool(4);
  const open = () => readPieces(read, pool, 0, SIZE_BYTES - 1);
  const early = Array.from({ length: 64 }, open);
  for (const stream of early) assert.equal((await stream.next()).value?.length, PIECE_BYTES);
  let length = 0;
  for await (const piece of open()) {
    assert.ok(piece.length <= 64 * 1024, `a piece of ${piece.length} bytes`);
    for (let i = 0; i < piece.length; i += 997) assert.equal(piece[i], (length + i) & 255);
    length += piece.length;
  }
  assert.equal(length, SIZE_BYTES);
  // Also if all of it would have fitted into one piece.
  const short = readPieces(read, pool, 0, PIECE_BYTES - 1);
  assert.equal((await short.next()).value?.length, 64 * 1024);
  await short.return();
  await early[0]!.return();
  const late = open();
  assert.equal((await late.next()).value?.length, PIECE_BYTES);
  for (const stream of [late, ...early]) await stream.return();
});
