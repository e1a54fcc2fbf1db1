// A pool of large buffers, so that each blob does not fault in new memory.
// Not here: whether a buffer is still being read; its holder knows, and returns it only when nobody reads it.

/** The size of the pieces in which blobs are read and written: above 1 MiB, calls get no cheaper per byte. */
export const PIECE_BYTES = 1024 * 1024;

/**
 * The number of streams that read pieces of this size, two pieces each. Further streams get small pieces: four thousand stalled readers
 * would hold 8 GiB, and larger pieces make no more streams than this faster.
 */
const MAX_LARGE_READERS = 64;

/** A pool of buffers of one size. */
export interface BufferPool {
  /**
   * Registers a stream that begins to read; false if it must read in small pieces. Each call is followed by one `leave` of the same kind.
   */
  enter(): boolean;
  leave(isLarge: boolean): void;
  take(): Buffer;
  /** Returns a buffer; one of another size is not the pool's, and is left to V8's garbage collector. */
  give(buffer: Buffer): void;
}

/** Creates a pool that keeps at most `maxKept` unused buffers of `PIECE_BYTES`. */
export function createBufferPool(maxKept: number): BufferPool {
  const kept: Buffer[] = [];
  let largeReaders = 0;
  return {
    enter() {
      if (largeReaders >= MAX_LARGE_READERS) return false;
      largeReaders++;
      return true;
    },
    leave(isLarge) {
      if (isLarge) largeReaders--;
    },
    take: () => kept.pop() ?? Buffer.allocUnsafeSlow(PIECE_BYTES),
    give: (buffer) => {
      if (kept.length < maxKept && buffer.length === PIECE_BYTES) kept.push(buffer);
    },
  };
}
