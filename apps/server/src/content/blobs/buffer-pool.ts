// Large buffers that are used again, so that a stream of blobs does not fault in new memory for every one.
// Not here: who may still be reading a buffer; its holder knows and gives it back only when nobody does.

/** Size of the pieces in which blobs are read and written: past 1 MiB the calls no longer get cheaper per byte. */
export const PIECE_BYTES = 1024 * 1024;

/**
 * Streams that read in such pieces at a time, two pieces each. Those that come on top get small ones: four thousand readers that have stopped
 * would hold 8 GiB, and more streams than this are not made faster by larger pieces.
 */
const MAX_LARGE_READERS = 64;

/** A stock of equal buffers. */
export interface BufferPool {
  /** Counts a stream that begins to read; false where it shall read in small pieces. Each is followed by one `leave` of the same kind. */
  enter(): boolean;
  leave(isLarge: boolean): void;
  take(): Buffer;
  /** Takes a buffer back; one of another size is none of the stock's and left to the garbage collector. */
  give(buffer: Buffer): void;
}

/** Creates a stock that keeps at most `maxKept` unused buffers of `PIECE_BYTES`. */
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
