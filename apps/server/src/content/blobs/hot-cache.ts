// A cache in memory for frequently read blobs, in slices of 1 MiB, so that a hot layer is served without the store. Not here: small blobs
// in the database, authorization (distribution/).
import type { BlobStore, StorageKey } from "./blob-store.ts";

/** The size of a slice: the unit in which the cache is filled and evicted, and the largest piece of a stream. */
export const SLICE_BYTES = 1024 * 1024;

// A blob that would evict nearly everything else is not cached; 80 % admits a blob of 100 MiB to the usual 128 MiB.
const LARGEST_SHARE = 0.8;
// Recently requested keys that are remembered. At some 150 bytes each this is about 1 MiB, and a registry's working set is far smaller.
const REMEMBERED_KEYS = 8192;
// Evicted slices whose memory is kept for reuse: as many as readers usually release at once. V8 marks its whole heap for every 64 MiB that
// are allocated outside of it, which cost more than the reads themselves where blobs keep evicting each other.
const SPARE_SLICES = 8;

/** Reads through the cache. */
export interface HotCache {
  /**
   * Bytes `start` to `end` inclusive of a blob of `sizeBytes`, in pieces of at most 1 MiB. A piece is valid until the next one is
   * requested. Errors: those of the store's `read`.
   */
  read(key: StorageKey, sizeBytes: number, start: number, end: number): AsyncIterable<Uint8Array>;
  /**
   * The bytes in the cache, including those being read into it. Never above `maxBytes`. Evicted slices that readers still use do not count,
   * nor the few MiB of memory kept for reuse.
   */
  readonly sizeBytes: number;
  /** Bytes that were read from memory, and bytes that were waited for from the store, since the start. */
  readonly hitBytes: number;
  readonly missBytes: number;
}

/** The options of the cache. */
export interface HotCacheOptions {
  readonly store: Pick<BlobStore, "read">;
  /** 0 turns it off. */
  readonly maxBytes: number;
}

interface Slice {
  readonly bytes: Buffer;
  readonly owner: CachedBlob;
  readonly index: number;
  /** The number of readers and writers of the bytes. */
  users: number;
  isHeld: boolean;
  /** Whether the bytes may be in use by a reader that is not counted any more. */
  isLoose: boolean;
}

/** A slice that is being read from the store. */
interface Filling {
  readonly slice: Slice;
  readonly done: Promise<void>;
}

/** The slices of one blob that are cached or being read. */
interface CachedBlob {
  readonly key: StorageKey;
  readonly slices: Map<number, Slice>;
  readonly filling: Map<number, Filling>;
}

/**
 * Creates a cache. A blob is admitted at its second request while the first is still remembered, so that a scan over cold blobs evicts
 * nothing. The least recently used slice is evicted first.
 */
export function createHotCache({ store, maxBytes }: HotCacheOptions): HotCache {
  const blobs = new Map<StorageKey, CachedBlob>();
  // In order of use, the least recently used first.
  const order = new Set<Slice>();
  const seenOnce = new Set<StorageKey>();
  const spare: Buffer[] = [];
  let heldBytes = 0;
  let fillingBytes = 0;
  let hitBytes = 0;
  let missBytes = 0;

  function forgetIfEmpty(blob: CachedBlob): void {
    if (blob.slices.size === 0 && blob.filling.size === 0 && blobs.get(blob.key) === blob) blobs.delete(blob.key);
  }

  function evict(slice: Slice): void {
    order.delete(slice);
    slice.owner.slices.delete(slice.index);
    heldBytes -= slice.bytes.length;
    slice.isHeld = false;
    keepIfUnused(slice);
    forgetIfEmpty(slice.owner);
  }

  function keepIfUnused({ bytes, users, isHeld, isLoose }: Slice): void {
    if (users > 0 || isHeld || isLoose || bytes.length !== SLICE_BYTES || spare.length >= SPARE_SLICES) return;
    spare.push(bytes);
  }

  function letGo(slice: Slice): void {
    slice.users--;
    keepIfUnused(slice);
  }

  /** Makes room for bytes that are about to be read; false if running reads leave none. */
  function reserve(bytes: number): boolean {
    if (fillingBytes + bytes > maxBytes) return false;
    for (const slice of order) {
      if (heldBytes + fillingBytes + bytes <= maxBytes) break;
      evict(slice);
    }
    fillingBytes += bytes;
    return true;
  }

  /** Whether a request for this blob may fill the cache; it counts the request. */
  function admit(key: StorageKey, sizeBytes: number): CachedBlob | undefined {
    if (sizeBytes > maxBytes * LARGEST_SHARE) return undefined;
    const known = blobs.get(key);
    if (known !== undefined) return known;
    if (!seenOnce.delete(key)) {
      seenOnce.add(key);
      if (seenOnce.size > REMEMBERED_KEYS) seenOnce.delete(seenOnce.values().next().value as StorageKey);
      return undefined;
    }
    const blob: CachedBlob = { key, slices: new Map(), filling: new Map() };
    blobs.set(key, blob);
    return blob;
  }

  async function load(key: StorageKey, sizeBytes: number, start: number, bytes: Buffer): Promise<void> {
    let filled = 0;
    for await (const piece of store.read(key, start, start + bytes.length - 1, sizeBytes)) {
      bytes.set(piece, filled);
      filled += piece.length;
    }
    if (filled !== bytes.length) throw new Error(`the store gave ${filled} bytes for ${bytes.length}`);
  }

  /** Ends the read of a slice, in one step, so that no byte counts twice. */
  function finish(slice: Slice, isGood: boolean): void {
    const { owner, index, bytes } = slice;
    fillingBytes -= bytes.length;
    owner.filling.delete(index);
    if (isGood) {
      slice.isHeld = true;
      owner.slices.set(index, slice);
      order.add(slice);
      heldBytes += bytes.length;
    }
    letGo(slice);
    forgetIfEmpty(owner);
  }

  /** Starts to read a slice, or joins a running read; undefined if there is no room now. */
  function fill(blob: CachedBlob, index: number, sizeBytes: number): Filling | undefined {
    const joined = blob.filling.get(index);
    if (joined !== undefined) return joined;
    const start = index * SLICE_BYTES;
    const length = Math.min(SLICE_BYTES, sizeBytes - start);
    if (!reserve(length)) return undefined;
    // The blob may have lost its last slice, here or while its reader was slow.
    blobs.set(blob.key, blob);
    // Never from the shared pool: evicting a slice must free exactly its counted size.
    const bytes = (length === SLICE_BYTES ? spare.pop() : undefined) ?? Buffer.allocUnsafeSlow(length);
    const slice: Slice = { bytes, owner: blob, index, users: 1, isHeld: false, isLoose: false };
    const done = load(blob.key, sizeBytes, start, bytes).then(
      () => finish(slice, true),
      (error: unknown) => {
        finish(slice, false);
        throw error;
      },
    );
    // Every reader of the slice gets the error; a slice read ahead may have no reader.
    done.catch(() => undefined);
    const filling: Filling = { slice, done };
    blob.filling.set(index, filling);
    return filling;
  }

  function markUsed(slice: Slice): void {
    order.delete(slice);
    order.add(slice);
  }

  async function* readThrough(first: CachedBlob, sizeBytes: number, start: number, end: number): AsyncGenerator<Uint8Array, void, void> {
    let blob = first;
    let readAhead = -1;
    const last = Math.floor(end / SLICE_BYTES);
    for (let index = Math.floor(start / SLICE_BYTES); index <= last; index++) {
      const sliceStart = index * SLICE_BYTES;
      const from = Math.max(start, sliceStart) - sliceStart;
      const to = Math.min(end + 1, sliceStart + SLICE_BYTES) - sliceStart;
      // The blob was evicted for lack of room and cached again by another reader: that entry counts.
      blob = blobs.get(blob.key) ?? blob;
      const held = blob.slices.get(index);
      if (held !== undefined) markUsed(held);
      const filling = held === undefined ? fill(blob, index, sizeBytes) : undefined;
      const slice = held ?? filling?.slice;
      // A slice that this same request read ahead is no hit.
      if (held !== undefined && index !== readAhead) hitBytes += to - from;
      else missBytes += to - from;
      if (slice === undefined) {
        yield* store.read(blob.key, sliceStart + from, sliceStart + to - 1, sizeBytes);
        continue;
      }
      slice.users++;
      let isInHand = false;
      try {
        // The next slice is read while this one is sent.
        if (index < last && !blob.slices.has(index + 1) && fill(blob, index + 1, sizeBytes) !== undefined) readAhead = index + 1;
        if (filling !== undefined) await filling.done;
        isInHand = true;
        yield from === 0 && to === slice.bytes.length ? slice.bytes : slice.bytes.subarray(from, to);
        isInHand = false;
      } finally {
        // A reader that left early may still have this slice queued on a socket.
        if (isInHand) slice.isLoose = true;
        letGo(slice);
      }
    }
  }

  return {
    read: (key, sizeBytes, start, end) => {
      if (end < start) return nothing();
      const blob = maxBytes > 0 ? admit(key, sizeBytes) : undefined;
      if (blob !== undefined) return readThrough(blob, sizeBytes, start, end);
      missBytes += end - start + 1;
      return store.read(key, start, end, sizeBytes);
    },
    get sizeBytes() {
      return heldBytes + fillingBytes;
    },
    get hitBytes() {
      return hitBytes;
    },
    get missBytes() {
      return missBytes;
    },
  };
}

async function* nothing(): AsyncGenerator<Uint8Array, void, void> {}
