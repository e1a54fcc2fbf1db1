// Blobs on their way from an upstream: one fetch for all who ask meanwhile, whose readers get the bytes while they are stored. What waits for what:
// the upstream waits for the spool, readers and the store read from there, each at its own pace. The last byte is given to nobody before all of them
// have the digest: wrong bytes are never whole, and so never stored. Not here: who may, and what is stored (pull-through.ts).
import { setImmediate as nextTurn } from "node:timers/promises";
import { algorithmOf, createHasher, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { MINUTE_MS, SECOND_MS } from "../platform/clock.ts";
import type { BlobReader } from "./open-blob.ts";
import type { Chunk } from "./small-uploads.ts";
import { createSpool, PIECE_BYTES, type Spool } from "./spool.ts";
import { UpstreamError, type UpstreamBlob } from "./upstream.ts";
import { createProjectPlaces } from "./upstream-questions.ts";

/** A blob that is coming, or has just come. */
export interface IncomingBlob {
  readonly sizeBytes: number;
  /** Reads it alone. Of a part nothing is given before the whole has the digest. */
  readonly source: BlobReader;
}

/** What is to be fetched. */
export interface BlobFetch {
  readonly projectId: number;
  readonly digest: Digest;
  /** Undefined: the upstream has no such blob. */
  open(signal: AbortSignal): Promise<UpstreamBlob | undefined>;
  /** Stores what comes. It fails when the bytes turn out to be wrong. */
  store(chunk: Chunk): Promise<void>;
  /** Told of a store that failed; readers go on. */
  onUnstored(error: unknown): void;
  /** Reads what was stored. Errors: UNAVAILABLE where that is gone. */
  readStored(start: number, end: number): AsyncIterable<Uint8Array>;
  /** What readers get where the upstream fails. */
  refusalOf(error: unknown): RegistryError;
}

/** The fetches of one process. */
export interface IncomingBlobs {
  /** One that is running and has a size. */
  find(key: string): IncomingBlob | undefined;
  /** Joins the fetch of that key, or begins it. Resolves once there is something to read. Errors: the refusal. */
  fetch(key: string, fetch: BlobFetch): Promise<IncomingBlob | undefined>;
  /** Breaks all off, and waits until nothing of them runs. */
  stop(): Promise<void>;
  /** How many run. */
  readonly running: number;
}

/** What fetching needs. */
export interface IncomingBlobParts {
  /** Where large ones lie while they come. */
  readonly directory: string;
  readonly maxBlobBytes: number;
  /** `IDLE_MS` where it is not given. */
  readonly idleMs?: number;
  /** `BASE_MS` where it is not given. */
  readonly baseMs?: number;
}

/** How long an upstream may send nothing. */
const IDLE_MS = 30 * SECOND_MS;
/** How long a fetch may take: this, and as long as its bytes take at the least rate. One that drips would keep its place for ever. */
const BASE_MS = 5 * MINUTE_MS;
const LEAST_BYTES_PER_MS = 16;
/** Timers have 31 bits. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** Fetches at a time, and those of one project. */
const MAX_FETCHES = 48;
const MAX_FETCHES_OF_PROJECT = 16;
/** How long a client waits for one of them. */
const WAIT_MS = 30 * SECOND_MS;

interface Running {
  readonly begun: Promise<IncomingBlob | undefined>;
  /** It has failed, or is not stored, or has ended: who comes now is better served by another. */
  readonly over: Promise<void>;
  readonly ended: Promise<void>;
  readonly blob: () => IncomingBlob | undefined;
  abort(error: Error): void;
}

/** Makes the fetches. */
export function createIncomingBlobs(parts: IncomingBlobParts): IncomingBlobs {
  const places = createProjectPlaces({ permits: MAX_FETCHES, ofProject: MAX_FETCHES_OF_PROJECT, waitMs: WAIT_MS });
  /** Those that may be joined: one that has failed still ends, but nobody gets it any more. */
  const fetches = new Map<string, Running>();
  const all = new Set<Running>();
  let isStopped = false;
  return {
    find: (key) => fetches.get(key)?.blob(),
    async fetch(key, fetch) {
      const running = fetches.get(key);
      if (running !== undefined) return running.begun;
      if (isStopped) throw new RegistryError("UNAVAILABLE");
      const started = startFetch(parts, fetch, (work) => places.run(fetch.projectId, work));
      const leave = (): void => {
        if (fetches.get(key) === started) fetches.delete(key);
      };
      fetches.set(key, started);
      all.add(started);
      void started.over.then(leave);
      void started.ended.then(() => all.delete(started));
      return started.begun;
    },
    async stop() {
      isStopped = true;
      const running = [...all];
      for (const { abort } of running) abort(notFetched());
      await Promise.all(running.map(({ ended }) => ended));
    },
    get running() {
      return all.size;
    },
  };
}

/** Begins one. `over` and `ended` never fail. */
function startFetch(parts: IncomingBlobParts, fetch: BlobFetch, inPlace: (work: () => Promise<void>) => Promise<void>): Running {
  const state = createProgress();
  const begun = Promise.withResolvers<IncomingBlob | undefined>();
  const over = Promise.withResolvers<void>();
  const abort = new AbortController();
  let blob: IncomingBlob | undefined;

  /** There is something to read: whoever waits gets it, and so does the store. */
  function begin(spool: Spool, sizeBytes: number): Promise<void> {
    const read = (start: number, end: number): AsyncGenerator<Uint8Array, void, void> =>
      readFrom(state, { spool, sizeBytes, readStored: (from, to) => fetch.readStored(from, to) }, start, end);
    blob = { sizeBytes, source: { read: (_blob, start, end) => read(start, end), readSmall: () => undefined } };
    begun.resolve(blob);
    state.onLastReader = () => {
      // Nobody needs what cannot be stored and is read by no one.
      if (state.isUnstored) abort.abort(notFetched());
    };
    const body = read(0, sizeBytes - 1);
    return fetch.store({ body, startBytes: undefined, lengthBytes: sizeBytes }).catch(async (error: unknown) => {
      state.isUnstored = true;
      // A store that failed before it read has not ended the body.
      await body.return();
      if (state.readers === 0) state.onLastReader?.();
      // The store fails as well where the upstream did, which is told of already.
      if (state.failure === undefined) fetch.onUnstored(error);
    });
  }

  async function receive(): Promise<void> {
    const upstream = await fetch.open(abort.signal);
    if (upstream === undefined) return begun.resolve(undefined);
    const { sizeBytes } = upstream;
    if ((sizeBytes ?? 0) > parts.maxBlobBytes)
      throw new UpstreamError("wrong", `its blob is larger than limits.uploadBytes, ${parts.maxBlobBytes}`);
    const spool = await createSpool(parts.directory, sizeBytes).catch(noRoom);
    let storing: Promise<void> | undefined;
    try {
      // An empty one has no byte to hold back: it is right before it is answered.
      if (sizeBytes !== undefined && sizeBytes > 0) storing = begin(spool, sizeBytes);
      const receivedBytes = await fill(parts, { spool, upstream, digest: fetch.digest, state, abort });
      storing ??= begin(spool, receivedBytes);
    } catch (error) {
      state.fail(fetch.refusalOf(error));
      over.resolve();
      throw state.failure as Error;
    } finally {
      await storing;
      // From here on readers have what was stored. Where that is nothing, they are waited for, with the place among the fetches.
      if (state.isUnstored) {
        over.resolve();
        // Who was given it a moment ago has begun to read by then.
        await nextTurn();
        await state.unread();
      }
      state.isClosed = true;
      await spool.close();
    }
  }

  const ended = inPlace(receive)
    .catch((error: unknown) => begun.reject(error instanceof RegistryError ? error : fetch.refusalOf(error)))
    // Whatever of the upstream still waits for something.
    .finally(() => {
      abort.abort();
      over.resolve();
    });
  return { begun: begun.promise, over: over.promise, ended, blob: () => blob, abort: (error) => abort.abort(error) };
}

/** How far a fetch is. */
interface Progress {
  /** What readers of the whole may have. */
  availableBytes: number;
  /** All bytes are there and right. */
  isWhole: boolean;
  failure: Error | undefined;
  isUnstored: boolean;
  /** The spool is not there any more. */
  isClosed: boolean;
  readers: number;
  onLastReader: (() => void) | undefined;
  /** Resolves when any of these has changed. */
  changed(): Promise<void>;
  advance(availableBytes: number, isWhole: boolean): void;
  fail(error: Error): void;
  /** Resolves when nobody reads. */
  unread(): Promise<void>;
}

function createProgress(): Progress {
  let change = Promise.withResolvers<void>();
  const announce = (): void => {
    change.resolve();
    change = Promise.withResolvers();
  };
  const state: Progress = {
    availableBytes: 0,
    isWhole: false,
    failure: undefined,
    isUnstored: false,
    isClosed: false,
    readers: 0,
    onLastReader: undefined,
    changed: () => change.promise,
    advance(availableBytes, isWhole) {
      state.availableBytes = availableBytes;
      state.isWhole = isWhole;
      announce();
    },
    fail(error) {
      state.failure = error;
      announce();
    },
    unread: () =>
      new Promise((resolve) => {
        if (state.readers === 0) resolve();
        else state.onLastReader = resolve;
      }),
  };
  return state;
}

/** Brings all bytes into the spool. Gives how many there are, which are right. */
async function fill(
  { idleMs = IDLE_MS, baseMs = BASE_MS, maxBlobBytes }: IncomingBlobParts,
  { spool, upstream: { sizeBytes, body }, digest, state, abort }: Filling,
): Promise<number> {
  const hasher = createHasher(algorithmOf(digest));
  const slow = new UpstreamError("wrong", "it sends a blob too slowly");
  const mostBytes = sizeBytes ?? maxBlobBytes;
  const deadline = setTimeout(() => abort.abort(slow), Math.min(baseMs + mostBytes / LEAST_BYTES_PER_MS, MAX_TIMER_MS));
  let receivedBytes = 0;
  try {
    for await (const piece of inTime(body, idleMs, abort.signal)) {
      receivedBytes += piece.length;
      if (receivedBytes > mostBytes) throw new UpstreamError("wrong", `it sends a blob that is longer than ${mostBytes} bytes`);
      hasher.update(piece);
      await spool.append(piece).catch(noRoom);
      if (sizeBytes !== undefined) state.advance(Math.min(receivedBytes, sizeBytes - 1), false);
    }
  } finally {
    clearTimeout(deadline);
  }
  if (receivedBytes < (sizeBytes ?? 0)) {
    throw new UpstreamError("wrong", `it broke off a blob of ${sizeBytes} bytes behind ${receivedBytes}`);
  }
  if (hasher.digest() !== digest) throw new UpstreamError("wrong", `what it sends as ${digest} has another digest`);
  state.advance(receivedBytes, true);
  return receivedBytes;
}

interface Filling {
  readonly spool: Spool;
  readonly upstream: UpstreamBlob;
  readonly digest: Digest;
  readonly state: Progress;
  readonly abort: AbortController;
}

/** The pieces of a body, as long as they come in time and it is not given up. */
async function* inTime(body: AsyncIterable<Uint8Array>, idleMs: number, signal: AbortSignal): AsyncGenerator<Uint8Array, void, void> {
  const pieces = body[Symbol.asyncIterator]();
  let isOver = false;
  try {
    for (;;) {
      const next = await nextInTime(pieces, idleMs, signal);
      isOver = next.done === true;
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    // Not awaited: a body that hangs does not end before its next piece.
    if (!isOver) void Promise.resolve(pieces.return?.()).catch(() => undefined);
  }
}

function nextInTime(pieces: AsyncIterator<Uint8Array>, idleMs: number, signal: AbortSignal): Promise<IteratorResult<Uint8Array>> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", giveUp);
    };
    const fail = (error: Error): void => {
      end();
      // The body may have heard of it first, in its own words.
      reject(signal.aborted ? (signal.reason as Error) : error);
    };
    const giveUp = (): void => fail(signal.reason as Error);
    const timer = setTimeout(() => fail(new UpstreamError("wrong", `it sent nothing for ${Math.ceil(idleMs / SECOND_MS)} s`)), idleMs);
    if (signal.aborted) return giveUp();
    signal.addEventListener("abort", giveUp);
    pieces.next().then((result) => {
      end();
      resolve(result);
    }, fail);
  });
}

interface Readable {
  readonly spool: Spool;
  readonly sizeBytes: number;
  readStored(start: number, end: number): AsyncIterable<Uint8Array>;
}

/** Reads what comes, as far as it may be had. */
async function* readFrom(
  state: Progress,
  { spool, sizeBytes, readStored }: Readable,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array, void, void> {
  state.readers++;
  try {
    // A part would be whole without the last byte of all: it waits until that is known to be right.
    const mayStream = start === 0 && end === sizeBytes - 1;
    const read = spool.reader();
    let position = start;
    while (position <= end) {
      if (state.failure !== undefined) throw state.failure;
      if (state.isClosed) {
        yield* readStored(position, end);
        return;
      }
      const availableBytes = state.isWhole ? end + 1 : mayStream ? state.availableBytes : 0;
      if (position >= availableBytes) {
        await state.changed();
        continue;
      }
      const piece = await read(position, Math.min(PIECE_BYTES, availableBytes - position));
      position += piece.length;
      yield piece;
    }
  } finally {
    if (--state.readers === 0) state.onLastReader?.();
  }
}

/** What a reader gets of a fetch that is given up. */
function notFetched(): RegistryError {
  return new RegistryError("UNAVAILABLE", { message: "the blob is not being fetched any more: try again", isReported: true });
}

/** The spool cannot be written: that is no failure of the upstream's. */
function noRoom(cause: unknown): never {
  const isFull = cause instanceof Error && "code" in cause && (cause.code === "ENOSPC" || cause.code === "EDQUOT");
  throw new RegistryError(isFull ? "STORAGE_FULL" : "UNAVAILABLE", { cause });
}
