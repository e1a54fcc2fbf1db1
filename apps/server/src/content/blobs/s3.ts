// Blobs in an S3 bucket: each append writes one object of its own, the first of them where it can stay, so that finishing an upload of
// one append copies nothing and asks nothing. Not here: requests (s3-client.ts), streams (s3-write.ts, s3-read.ts), names (paths.ts).
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { RegistryError } from "@berth/oci/errors";
import type { AppendOptions, Appended, BlobStore, FinishOptions, ListedKey, Stored, StorageKey, UploadRecord } from "./blob-store.ts";
import { PartialDeletion } from "./partial-deletion.ts";
import {
  checkPrefix,
  checkUploadId,
  createNames,
  decodeMark,
  encodeMark,
  findStorageKey,
  keyOfObject,
  markObject,
  objectKey,
  objectName,
  probeName,
  segmentObject,
  storePrefixes,
  uploadPrefixes,
} from "./paths.ts";
import { probeCapabilities, type S3Capabilities } from "./s3-capabilities.ts";
import { connectBucket, type S3Bucket, type S3Settings } from "./s3-client.ts";
import { S3_DIALECTS, type S3Dialect, type S3DialectName } from "./s3-dialects.ts";
import { joinObjects } from "./s3-join.ts";
import { readObject } from "./s3-read.ts";
import { MIN_PART_BYTES, writeObject, type PartRules } from "./s3-write.ts";
import { emptyRecord, foldOf, recordOf, segmentsBetween, segmentsOf, sumOf, withOlderBytes, wrongSize, type Segment } from "./segments.ts";
import { createUploadMemory } from "./upload-memory.ts";

/** What an S3 store is made from. */
export interface S3StoreOptions extends Omit<S3Settings, "bucket" | "dialect"> {
  /** Must exist. */
  readonly bucket: string | undefined;
  readonly dialect: S3DialectName;
  /** In front of every key, with or without a slash at its end. */
  readonly prefix?: string | undefined;
  /** Unique among all processes that ever write to the bucket: `a-z0-9-`, at most 32. */
  readonly processId: string;
  /** Size of one part, 5 MiB at least; an upload holds four of them in memory at most. */
  readonly partSizeBytes: number;
  /** What all uploads together may hold in memory, beside 64 KiB each; one part at least. */
  readonly uploadMemoryBytes: number;
}

/** More than any mark has. */
const MARK_BYTES_MAX = 1024;
const randomBytesOf = promisify<number, Buffer>(randomBytes);
/** What a probe writes as a rule. */
const MIN_PROBE_BYTES = 32;
/**
 * After a write was refused for want of room, a probe writes as much until that is taken: the last bytes of a quota would always take a few.
 * Not more than this, since it goes there and back every second.
 */
const MAX_PROBE_BYTES = MIN_PART_BYTES;

/** The same bucket, reporting the size of writes that found no room. */
function notingRefusals(bucket: S3Bucket, note: (sizeBytes: number) => void): S3Bucket {
  async function noting<T>(sizeBytes: number, request: Promise<T>): Promise<T> {
    try {
      return await request;
    } catch (error) {
      if (error instanceof RegistryError && error.code === "STORAGE_FULL") note(sizeBytes);
      throw error;
    }
  }
  return {
    ...bucket,
    put: (name, bytes, headers) => noting(bytes.length, bucket.put(name, bytes, headers)),
    uploadPart: (name, id, number, bytes) => noting(bytes.length, bucket.uploadPart(name, id, number, bytes)),
    copyPart: (name, id, number, source, start, end) => noting(end - start + 1, bucket.copyPart(name, id, number, source, start, end)),
  };
}

/** How long an upload waits for memory: the others that have it send a few parts meanwhile. */
const MEMORY_WAIT_MS = 60_000;

/** Tries what a store's service can do; undefined where it has no room for trying that. Errors: UNAVAILABLE. */
export async function tryS3Store(options: S3StoreOptions): Promise<S3Capabilities | undefined> {
  const { bucket, close, nextProbe } = await createStore(options);
  try {
    return await probeCapabilities(bucket, S3_DIALECTS[options.dialect], nextProbe);
  } catch (error) {
    // Reading and deleting need no room, and deleting may make some.
    if (error instanceof RegistryError && error.code === "STORAGE_FULL") return undefined;
    throw error;
  } finally {
    close();
  }
}

/** Creates a store without a request. */
export async function createS3Store(options: S3StoreOptions): Promise<BlobStore> {
  return (await createStore(options)).store;
}

async function createStore(options: S3StoreOptions) {
  const { bucket: bucketName, partSizeBytes, processId } = options;
  if (bucketName === undefined) throw new Error("an S3 store needs a bucket");
  if (partSizeBytes < MIN_PART_BYTES) throw new Error(`a part of ${partSizeBytes} bytes is smaller than S3 takes`);
  const dialect: S3Dialect = S3_DIALECTS[options.dialect];
  const rules: PartRules = {
    sizeBytes: partSizeBytes,
    mayDiffer: dialect.unequalParts,
    memory: createUploadMemory({ maxBytes: Math.max(options.uploadMemoryBytes, partSizeBytes), waitMs: MEMORY_WAIT_MS }),
  };
  const prefix = checkPrefix(options.prefix ?? "");
  const names = createNames(processId);
  let refusedBytes = 0;
  const bucket = notingRefusals(await connectBucket({ ...options, bucket: bucketName, dialect }), (sizeBytes) => {
    refusedBytes = Math.max(refusedBytes, Math.min(sizeBytes, MAX_PROBE_BYTES));
  });
  const nextProbe = (): string => probeName(prefix, names.next());

  /** The content of segments, in order. Errors: BLOB_UPLOAD_UNKNOWN where one is gone. */
  async function* readSegments(uploadId: string, segments: readonly Segment[]): AsyncGenerator<Uint8Array, void, void> {
    for (const segment of segments) {
      try {
        yield* readObject(bucket, segmentObject(prefix, uploadId, segment), 0, segment.sizeBytes - 1);
      } catch (error) {
        if (error instanceof RegistryError && error.code === "BLOB_DAMAGED")
          throw new RegistryError("BLOB_UPLOAD_UNKNOWN", { cause: error });
        throw error;
      }
    }
  }

  async function append(uploadId: string, record: UploadRecord, body: AsyncIterable<Uint8Array>, given: AppendOptions): Promise<Appended> {
    const { segments, superseded } = segmentsOf(record);
    if (sumOf(segments) !== given.offsetBytes) throw new Error("the upload's record and its offset differ");
    const { kept, folded } = foldOf(segments, given.expectedBytes);
    const begun = { name: names.next(), isFirst: kept.length === 0 };
    const object = segmentObject(prefix, uploadId, begun);
    const sizeBytes =
      folded.length === 0
        ? await writeObject(bucket, object, body, rules, given.onBytes)
        : await writeObject(
            bucket,
            object,
            withOlderBytes(() => readSegments(uploadId, folded), body, given.onBytes),
            rules,
            () => undefined,
          );
    if (sizeBytes === 0) return { record, writtenBytes: 0 };
    // Nobody needs these: the record that names them was replaced by the one that we were given.
    if (superseded.length > 0) await bucket.delete(superseded.map((segment) => segmentObject(prefix, uploadId, segment)));
    return {
      record: recordOf({ segments: [...kept, { ...begun, sizeBytes }], superseded: folded }),
      writtenBytes: sizeBytes - sumOf(folded),
    };
  }

  async function finish(uploadId: string, record: UploadRecord, { sizeBytes, onBytes }: FinishOptions): Promise<Stored> {
    const { segments } = segmentsOf(record);
    if (sumOf(segments) !== sizeBytes) throw wrongSize(sumOf(segments), sizeBytes);
    const [first] = segments;
    if (segments.length === 1 && first !== undefined) {
      const key = objectKey(uploadId, first.name);
      if (onBytes !== undefined) for await (const piece of readSegments(uploadId, segments)) onBytes(piece);
      // What this process wrote it knows to be there; another's may have been aborted meanwhile.
      else if (!names.owns(first.name) && (await bucket.sizeOf(objectName(prefix, key))) !== sizeBytes)
        throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
      return { key, sizeBytes };
    }
    const key = objectKey(uploadId, names.next());
    const object = objectName(prefix, key);
    if (segments.length === 0) await bucket.put(object, Buffer.alloc(0));
    else if (dialect.partCopy) {
      if (onBytes !== undefined) for await (const piece of readSegments(uploadId, segments)) onBytes(piece);
      await joinSegments(uploadId, object, segments);
    } else await writeObject(bucket, object, readSegments(uploadId, segments), rules, onBytes ?? (() => undefined));
    return { key, sizeBytes };
  }

  async function joinSegments(uploadId: string, object: string, segments: readonly Segment[]): Promise<void> {
    const sources = segments.map((segment) => ({ name: segmentObject(prefix, uploadId, segment), sizeBytes: segment.sizeBytes }));
    try {
      await joinObjects(bucket, object, sources, rules.memory);
    } catch (error) {
      // The multipart upload that copies is our own: what is not there is a segment.
      const isGone = error instanceof RegistryError ? error.code === "BLOB_DAMAGED" : error instanceof Error && error.name === "NoSuchKey";
      if (isGone) throw new RegistryError("BLOB_UPLOAD_UNKNOWN", { cause: error });
      throw error;
    }
  }

  /** Removes all of an upload's objects but the finals that are to be kept, and its unfinished multipart uploads where asked to. */
  async function clear(uploadId: string, isKept: (key: StorageKey) => boolean | Promise<boolean>, withMultiparts: boolean): Promise<void> {
    const { temporary, final } = uploadPrefixes(prefix, uploadId);
    const unkept: string[] = [];
    for (const place of [temporary, final]) {
      if (withMultiparts)
        for await (const { name, multipartId } of bucket.listMultiparts(place)) await bucket.abortMultipart(name, multipartId);
      for await (const { name } of bucket.list(place)) {
        if (place === temporary || !(await isKept(keyOfObject(prefix, name)))) unkept.push(name);
      }
    }
    if (unkept.length > 0) await bucket.delete(unkept);
  }

  /** The usual upload of one append left nothing but its blob. Of others the first segment lies under a final key, too. */
  function isAlone(uploadId: string, record: UploadRecord, key: StorageKey): boolean {
    const { segments, superseded } = segmentsOf(record);
    return segments.length === 1 && superseded.length === 0 && key === objectKey(uploadId, segments[0]?.name ?? "");
  }

  async function removeLeftovers(uploadId: string, record: UploadRecord, key: StorageKey): Promise<void> {
    if (!isAlone(uploadId, record, key)) await clear(uploadId, (other) => other === key, false);
  }

  async function sweep(olderThan: Date): Promise<number> {
    const { temporary, final } = storePrefixes(prefix);
    const swept = new Set<string>();
    let old: string[] = [];
    const note = (name: string): unknown => swept.add(name.slice(prefix.length).split("/").slice(1, 2).join());
    for (const place of [temporary, final]) {
      for await (const { name, multipartId, changedAt } of bucket.listMultiparts(place)) {
        if (changedAt >= olderThan) continue;
        await bucket.abortMultipart(name, multipartId);
        note(name);
      }
    }
    for await (const { name, changedAt } of bucket.list(temporary)) {
      if (changedAt >= olderThan) continue;
      old.push(name);
      note(name);
      // A batch at a time, so that memory does not grow with what was left.
      if (old.length === 1000) {
        await bucket.delete(old);
        old = [];
      }
    }
    if (old.length > 0) await bucket.delete(old);
    return swept.size;
  }

  async function* list(startAfter?: StorageKey): AsyncGenerator<ListedKey, void, void> {
    const after = startAfter === undefined ? undefined : objectName(prefix, startAfter);
    for await (const { name, sizeBytes, changedAt } of bucket.list(storePrefixes(prefix).final, after)) {
      const key = findStorageKey(name.slice(prefix.length));
      if (key !== undefined) yield { key, sizeBytes, changedAt };
    }
  }

  const mark = markObject(prefix);

  async function readMark(): Promise<string | undefined> {
    const found = await bucket.get(mark, 0, MARK_BYTES_MAX);
    if (found === undefined) return undefined;
    const pieces: Uint8Array[] = [];
    for await (const piece of found.body as AsyncIterable<Uint8Array>) pieces.push(piece);
    return decodeMark(Buffer.concat(pieces).toString("utf8"));
  }

  async function putMark(id: string, { replaces }: { readonly replaces?: string } = {}): Promise<string> {
    const present = await readMark();
    if (present !== undefined && present !== replaces) return present;
    // Most services refuse to write over an object that came meanwhile; on the others the one that came last is read back.
    const headers = present === undefined ? { [dialect.createOnly[0]]: dialect.createOnly[1] } : {};
    try {
      await bucket.put(mark, Buffer.from(encodeMark(id)), headers);
    } catch (error) {
      if ((await readMark()) === undefined) throw error;
    }
    return (await readMark()) ?? id;
  }

  async function probe(): Promise<void> {
    const name = nextProbe();
    const tried = refusedBytes;
    const wrote = await randomBytesOf(Math.max(MIN_PROBE_BYTES, tried));
    await bucket.put(name, wrote);
    // What is refused meanwhile counts for the next time.
    if (refusedBytes === tried) refusedBytes = 0;
    try {
      const back: Uint8Array[] = [];
      for await (const piece of readObject(bucket, name, 0, wrote.length - 1)) back.push(Buffer.from(piece));
      if (!Buffer.concat(back).equals(wrote)) throw new RegistryError("UNAVAILABLE", { cause: new Error(`${name} read back differently`) });
    } finally {
      await bucket.delete([name]);
    }
  }

  const store: BlobStore = {
    kind: "s3",
    begin: (uploadId) => {
      checkUploadId(uploadId);
      return emptyRecord();
    },
    append,
    finish,
    async undoAppend(uploadId, from, to) {
      const written = segmentsBetween(from, to);
      if (written.length > 0) await bucket.delete(written.map((segment) => segmentObject(prefix, uploadId, segment)));
    },
    removeLeftovers,
    isAlone,
    abort: (uploadId, _record, bound) => clear(uploadId, bound, true),
    stat: async (key) => {
      const sizeBytes = await bucket.sizeOf(objectName(prefix, key));
      return sizeBytes === undefined ? undefined : { sizeBytes };
    },
    read: (key, start, end, sizeBytes) => readObject(bucket, objectName(prefix, key), start, end, sizeBytes),
    signedUrl: (key, { mediaType, ttlSeconds }) => bucket.signedUrl(objectName(prefix, key), mediaType, ttlSeconds),
    list,
    async delete(keys) {
      try {
        await bucket.delete(keys.map((key) => objectName(prefix, key)));
      } catch (error) {
        if (!(error instanceof PartialDeletion)) throw error;
        throw new PartialDeletion(
          keys.filter((key) => error.kept.has(objectName(prefix, key))),
          error.cause,
        );
      }
    },
    sweep,
    readMark,
    putMark,
    probe,
    close: async () => bucket.close(),
  };
  return { store, bucket, nextProbe, close: bucket.close };
}
