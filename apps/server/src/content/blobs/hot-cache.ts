// Memory for blobs that are read often, in slices of 1 MiB, so that a hot layer is served without a call to the store.
// Not here: small blobs that lie in the database, and who may read (distribution/).
import type { BlobStore, StorageKey } from "./blob-store.ts";

/** Size of a slice: the unit in which the cache fills and forgets, and the most that one piece of a stream holds. */
export const SLICE_BYTES = 1024 * 1024;

// A blob that would push out nearly everything else is not worth it; 80 % lets a blob of 100 MiB into the usual 128 MiB.
const LARGEST_SHARE = 0.8;
// Keys seen once of late. At some 150 bytes each this is about 1 MiB, and a registry's working set is far smaller.
const REMEMBERED_KEYS = 8192;
// Memory of slices that nobody reads any more, kept for those to come: as many as readers usually let go of at once. V8 marks its whole heap
// for every 64 MiB that are allocated outside of it, which cost more than the reads themselves where blobs keep pushing each other out.
const SPARE_SLICES = 8;

/** Reads through memory. */
export interface HotCache {
  /**
   * Bytes `start` to `end` inclusive of a blob of `sizeBytes`, in pieces of at most 1 MiB. A piece is valid until the next one is asked
   * for. Errors: those of the store's `read`.
   */
  read(key: StorageKey, sizeBytes: number, start: number, end: number): AsyncIterable<Uint8Array>;
  /**
   * Bytes held, those being filled included. Never above `maxBytes`. Pieces that readers still hold after eviction do not count, nor the few
   * MiB of memory that wait to be used again.
   */
  readonly sizeBytes: number;
  /** Bytes that readers got from memory, and bytes for which they had to wait for the store, since the start. */
  readonly hitBytes: number;
  readonly missBytes: number;
}

/** What a cache is made from. */
export interface HotCacheOptions {
  readonly store: Pick<BlobStore, "read">;
  /** 0 turns it off. */
  readonly maxBytes: number;
}

interface Slice {
  readonly bytes: Buffer;
  readonly owner: CachedBlob;
  readonly index: number;
  /** Who fills or reads the bytes now. */
  users: number;
  isHeld: boolean;
  /** Whether the bytes may be in use by somebody who is not counted. */
  isLoose: boolean;
}

/** A slice whose bytes are on their way. */
interface Filling {
  readonly slice: Slice;
  readonly done: Promise<void>;
}

/** Slices of one blob that are held or being filled. */
interface CachedBlob {
  readonly key: StorageKey;
  readonly slices: Map<number, Slice>;
  readonly filling: Map<number, Filling>;
}

/**
 * Creates a cache. A blob gets in when it is asked for a second time while its first time is still remembered: a scan over cold blobs
 * pushes nothing out. Which slice goes is decided by least recent use.
 */
export function createHotCache({ store, maxBytes }: HotCacheOptions): HotCache {
  const blobs = new Map<StorageKey, CachedBlob>();
  // In order of use, the least recent first.
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

  /** Makes room for bytes that are about to be read; false where what is being filled leaves none. */
  function reserve(bytes: number): boolean {
    if (fillingBytes + bytes > maxBytes) return false;
    for (const slice of order) {
      if (heldBytes + fillingBytes + bytes <= maxBytes) break;
      evict(slice);
    }
    fillingBytes += bytes;
    return true;
  }

  /** Whether a request of this blob may fill the cache; counts the request. */
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

  /** Ends a filling: in one step, so that no byte counts twice. */
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

  /** Begins to fill a slice, or joins who does; undefined where there is no room now. */
  function fill(blob: CachedBlob, index: number, sizeBytes: number): Filling | undefined {
    const joined = blob.filling.get(index);
    if (joined !== undefined) return joined;
    const start = index * SLICE_BYTES;
    const length = Math.min(SLICE_BYTES, sizeBytes - start);
    if (!reserve(length)) return undefined;
    // It may have lost its last slice, here or while its reader was slow.
    blobs.set(blob.key, blob);
    // Never out of the shared pool: a slice must free exactly what it counts for.
    const bytes = (length === SLICE_BYTES ? spare.pop() : undefined) ?? Buffer.allocUnsafeSlow(length);
    const slice: Slice = { bytes, owner: blob, index, users: 1, isHeld: false, isLoose: false };
    const done = load(blob.key, sizeBytes, start, bytes).then(
      () => finish(slice, true),
      (error: unknown) => {
        finish(slice, false);
        throw error;
      },
    );
    // Whoever asks for the slice gets the failure; a slice read ahead that nobody asks for has nobody to tell.
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
      // Forgotten for want of room and begun again by somebody else meanwhile: their entry counts.
      blob = blobs.get(blob.key) ?? blob;
      const held = blob.slices.get(index);
      if (held !== undefined) markUsed(held);
      const filling = held === undefined ? fill(blob, index, sizeBytes) : undefined;
      const slice = held ?? filling?.slice;
      // A slice that this very request had read ahead was no hit.
      if (held !== undefined && index !== readAhead) hitBytes += to - from;
      else missBytes += to - from;
      if (slice === undefined) {
        yield* store.read(blob.key, sliceStart + from, sliceStart + to - 1, sizeBytes);
        continue;
      }
      slice.users++;
      let isInHand = false;
      try {
        // The next one is read while this one is sent.
        if (index < last && !blob.slices.has(index + 1) && fill(blob, index + 1, sizeBytes) !== undefined) readAhead = index + 1;
        if (filling !== undefined) await filling.done;
        isInHand = true;
        yield from === 0 && to === slice.bytes.length ? slice.bytes : slice.bytes.subarray(from, to);
        isInHand = false;
      } finally {
        // What a reader that left in the middle had in its hand may still be queued on a socket.
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
