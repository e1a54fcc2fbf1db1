// Moves bytes between files and streams: writes are batched while one is under way, reads run one piece ahead. Not here: which file
// (filesystem.ts), what a failure means (file-system-port.ts).
import { PIECE_BYTES, type BufferPool } from "./buffer-pool.ts";
import { pump } from "../../platform/pieces.ts";
import type { FileSystemPort } from "./file-system-port.ts";

// The first buffer of a body, before it proves to be large: most configs and manifests fit, and need no large buffer.
const FIRST_BUFFER_BYTES = 64 * 1024;
const EMPTY = Buffer.alloc(0);
// After this many bytes a sync starts while the rest still arrives, so that the final sync has little left to wait for.
const SYNC_AHEAD_BYTES = 16 * 1024 * 1024;
// Buffers that are full or being written while the next one fills: at most 4 MiB for each upload.
const WRITES_AHEAD = 4;

async function writeFully(fs: FileSystemPort, fd: number, buffer: Uint8Array, length: number, position: number): Promise<void> {
  let done = 0;
  while (done < length) {
    const written = await fs.write(fd, buffer, done, length - done, position + done);
    // A file system that writes nothing and reports no error would keep us here for ever.
    if (written === 0) throw Object.assign(new Error("ENOSPC: write took no bytes"), { code: "ENOSPC", syscall: "write" });
    done += written;
  }
}

/**
 * Writes a body to a new file and returns the number of bytes. `target` is called for the file at the first write, so an empty body opens
 * none. When it throws, no write is under way any more.
 */
export async function writeBody(
  fs: FileSystemPort,
  pool: BufferPool,
  target: () => Promise<number>,
  body: AsyncIterable<Uint8Array>,
  onBytes: (piece: Uint8Array) => void,
): Promise<number> {
  let fd: number | undefined;
  let filling: Buffer = EMPTY;
  let filled = 0;
  /** Filled buffers; the first is being written. */
  const full: { readonly buffer: Buffer; readonly length: number }[] = [];
  let isFirst = true;
  let writing: Promise<void> | undefined;
  let room: PromiseWithResolvers<void> | undefined;
  let syncing: Promise<void> | undefined;
  let syncedBytes = 0;
  let failure: { readonly error: unknown } | undefined;
  let written = 0;

  function flush(): void {
    full.push({ buffer: filling, length: filled });
    filling = EMPTY;
    filled = 0;
    isFirst = false;
    writing ??= writeFull();
  }

  // One at a time: two concurrent writes to one file wait for its lock in the kernel, and spin on it.
  async function writeFull(): Promise<void> {
    try {
      fd ??= await target();
      for (let next = full[0]; next !== undefined; next = full[0]) {
        await writeFully(fs, fd, next.buffer, next.length, written);
        written += next.length;
        if (written - syncedBytes >= SYNC_AHEAD_BYTES && syncing === undefined) syncAhead(fd);
        full.shift();
        pool.give(next.buffer);
        room?.resolve();
      }
    } catch (error) {
      failure = { error };
      room?.reject(error);
    } finally {
      writing = undefined;
    }
  }

  // Only for speed: durability depends on the sync at the end, which also reports what fails here.
  function syncAhead(file: number): void {
    syncedBytes = written;
    syncing = fs
      .fdatasync(file)
      .catch(() => undefined)
      .then(() => {
        syncing = undefined;
      });
  }

  function take(piece: Uint8Array): Promise<void> | undefined {
    if (failure !== undefined) throw failure.error;
    onBytes(piece);
    let taken = 0;
    while (taken < piece.length) {
      if (filled === filling.length) {
        if (filling.length === PIECE_BYTES) flush();
        filling = isFirst ? grown(filling, filled, piece.length, pool) : pool.take();
      }
      const count = Math.min(piece.length - taken, filling.length - filled);
      filling.set(taken === 0 && count === piece.length ? piece : piece.subarray(taken, taken + count), filled);
      filled += count;
      taken += count;
    }
    if (full.length < WRITES_AHEAD) return undefined;
    room = Promise.withResolvers();
    return room.promise;
  }

  try {
    await pump(body, take);
    if (failure === undefined && filled > 0) flush();
    await writing;
    if (failure !== undefined) throw failure.error;
    return written;
  } finally {
    await writing;
    // The caller closes the file next.
    await syncing;
    pool.give(filling);
  }
}

function grown(buffer: Buffer, filled: number, needed: number, pool: BufferPool): Buffer {
  const next = filled + needed <= FIRST_BUFFER_BYTES ? Buffer.allocUnsafe(FIRST_BUFFER_BYTES) : pool.take();
  buffer.copy(next, 0, 0, filled);
  return next;
}

/** Reads up to `length` bytes at a position into a buffer and returns their number; fewer only at the file's end. */
export type ReadAt = (buffer: Uint8Array, length: number, position: number) => Promise<number>;

/** A `ReadAt` of an open file. */
export function readAt(fs: FileSystemPort, fd: () => number): ReadAt {
  return async (buffer, length, position) => {
    let done = 0;
    while (done < length) {
      const count = await fs.read(fd(), buffer, done, length - done, position + done);
      if (count === 0) break;
      done += count;
    }
    return done;
  };
}

/**
 * Yields `start` to `end` inclusive in pieces of at most 1 MiB, or of 64 KiB if many streams read; it reads the next piece while the last
 * is in use. A piece is valid until the next one is requested. Ends early if the file does. When the reader leaves, the running read is
 * awaited first.
 */
export async function* readPieces(read: ReadAt, pool: BufferPool, start: number, end: number): AsyncGenerator<Buffer, void, void> {
  const isLarge = pool.enter();
  try {
    const total = end - start + 1;
    const pieceBytes = isLarge ? PIECE_BYTES : FIRST_BUFFER_BYTES;
    if (total > pieceBytes) {
      yield* readAheadPieces(read, pool, start, end, pieceBytes);
      return;
    }
    // There is nothing to read ahead. Small reads get a buffer of their size; for large ones allocating new memory would cost more than the
    // read.
    const only = total <= FIRST_BUFFER_BYTES ? Buffer.allocUnsafe(total) : pool.take();
    const count = await read(only, total, start);
    if (count > 0) yield count === only.length ? only : only.subarray(0, count);
    pool.give(only);
  } finally {
    pool.leave(isLarge);
  }
}

async function* readAheadPieces(
  read: ReadAt,
  pool: BufferPool,
  start: number,
  end: number,
  pieceBytes: number,
): AsyncGenerator<Buffer, void, void> {
  const take = (): Buffer => (pieceBytes === PIECE_BYTES ? pool.take() : Buffer.allocUnsafeSlow(pieceBytes));
  let free: Buffer | undefined;
  let position = start;
  let ahead: Promise<{ buffer: Buffer; count: number; wanted: number }> | undefined;

  function readAhead(): void {
    const buffer = free ?? take();
    free = undefined;
    const wanted = Math.min(pieceBytes, end + 1 - position);
    ahead = read(buffer, wanted, position).then((count) => ({ buffer, count, wanted }));
    ahead.catch(() => undefined);
    position += wanted;
  }

  try {
    readAhead();
    while (ahead !== undefined) {
      const { buffer, count, wanted }: { buffer: Buffer; count: number; wanted: number } = await ahead;
      ahead = undefined;
      if (count === wanted && position <= end) readAhead();
      if (count > 0) yield count === pieceBytes ? buffer : buffer.subarray(0, count);
      if (free === undefined) free = buffer;
      else pool.give(buffer);
    }
  } finally {
    const last = await (ahead as Promise<{ buffer: Buffer }> | undefined)?.catch(() => undefined);
    if (last !== undefined) pool.give(last.buffer);
    if (free !== undefined) pool.give(free);
    // A reader that left early may still have its piece queued on a socket, so that buffer is left to V8's garbage collector.
  }
}
