// Blobs in an S3 bucket: each append writes one object, the first of them in its final place, so that finishing an upload of one append
// needs no copy and no request. Not here: requests (s3-client.ts), streams (s3-write.ts, s3-read.ts), names (paths.ts).
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

/** The options of an S3 store. */
export interface S3StoreOptions extends Omit<S3Settings, "bucket" | "dialect"> {
  /** The bucket must exist. */
  readonly bucket: string | undefined;
  readonly dialect: S3DialectName;
  /** Prefix of every key, with or without a slash at its end. */
  readonly prefix?: string | undefined;
  /** Unique among all processes that ever write to the bucket: `a-z0-9-`, at most 32 characters. */
  readonly processId: string;
  /** The size of one part, at least 5 MiB; an upload holds at most four of them in memory. */
  readonly partSizeBytes: number;
  /** The memory that all uploads together may hold, beside 64 KiB each; at least one part. */
  readonly uploadMemoryBytes: number;
}

/** Larger than any mark. */
const MARK_BYTES_MAX = 1024;
const randomBytesOf = promisify<number, Buffer>(randomBytes);
/** The usual size of a probe. */
const MIN_PROBE_BYTES = 32;
/**
 * After a write was refused for lack of room, a probe writes as many bytes until they are accepted: a few bytes would always fit into the
 * end of a quota. It writes no more than this, because it does so every second.
 */
const MAX_PROBE_BYTES = MIN_PART_BYTES;

/** The same bucket, reporting the size of writes that were refused for lack of room. */
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

/** How long an upload waits for memory: meanwhile the other uploads send a few parts. */
const MEMORY_WAIT_MS = 60_000;

/** Tests what a store's service supports; undefined if it has no room for the test. Errors: UNAVAILABLE. */
export async function tryS3Store(options: S3StoreOptions): Promise<S3Capabilities | undefined> {
  const { bucket, close, nextProbe } = await createStore(options);
  try {
    return await probeCapabilities(bucket, S3_DIALECTS[options.dialect], nextProbe);
  } catch (error) {
    // Reading and deleting need no room, and deleting may free some.
    if (error instanceof RegistryError && error.code === "STORAGE_FULL") return undefined;
    throw error;
  } finally {
    close();
  }
}

/** Creates a store without making a request. */
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

  /** The content of segments, in order. Errors: BLOB_UPLOAD_UNKNOWN if one is missing. */
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
    // Nobody needs these any more: the record that names them was replaced by the given one.
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
      // This process knows that its own objects exist; another's may have been aborted meanwhile.
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
      // The copying multipart upload is our own, so a missing object is a segment.
      const isGone = error instanceof RegistryError ? error.code === "BLOB_DAMAGED" : error instanceof Error && error.name === "NoSuchKey";
      if (isGone) throw new RegistryError("BLOB_UPLOAD_UNKNOWN", { cause: error });
      throw error;
    }
  }

  /** Removes all of an upload's objects except final ones that are to be kept, and its incomplete multipart uploads if requested. */
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

  /** The usual upload of one append left nothing but its blob. Of others, the first segment is under a final key too. */
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
      // A batch at a time, so that memory does not grow with the number of leftovers.
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
    // Most services refuse to overwrite an object that was created meanwhile; on the others the last writer's mark is read back.
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
    // A refusal in the meantime counts for the next probe.
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
