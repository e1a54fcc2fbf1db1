// The layout of a store. Nothing else builds a path or an object key, so nothing else can let one escape.
// Not here: reading or writing files and objects.
//
//   File system S3
//   <root>/ <prefix>
//     berth-store.json whose store this is berth-store.json whose store this is
//     uploads/ temporary uploads/ temporary
//       <uploadId>/ <uploadId>/<segment> segments after the first
//         <segment> probe-<processId>/<n> while probing
//         key.<algorithm>.<hex>.<segment> blobs/ final
//           says that this segment became a blob <uploadId>/<segment> the first segment, mostly the only one
//       probe-<segment> while probing
//     blobs/ final
//       <algorithm>/<2 hex>/<hex>.<uploadId>.<segment>
//
// A segment is named `<processId>.<n>`, where n counts what one process writes: a name is never used twice. A final name holds its
// segment's, so it stands for the same bytes for ever: deleting one copy of a blob cannot hit another one that was just pushed, and a late
// request cannot put other bytes in its place.
import { join } from "node:path";
import { algorithmOf, hexOf, isDigest, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { StorageKey } from "./blob-store.ts";

// No dot and no slash: an id is always exactly one path segment. 40 and 32: even with a sha512 a file name has less than 255 bytes.
const UPLOAD_ID = /^[a-z0-9][a-z0-9-]{7,39}$/;
const PROCESS_ID = /^[a-z0-9][a-z0-9-]{0,31}$/;
const SEGMENT_NAME = /^[a-z0-9][a-z0-9-]{0,31}\.[0-9]{1,15}$/;
// Single dots inside a segment only, so neither "." nor ".." can be one. 300: the longest name and its prefix.
const STORAGE_KEY = /^blobs(?:\/[a-z0-9-]+(?:\.[a-z0-9-]+)*){1,3}$/;
const STORAGE_KEY_LENGTH = 300;
const MARKER = /^key\.(sha256|sha512)\.([0-9a-f]+)\.([a-z0-9-]+\.[0-9]+)$/;

/** Parses a key from the database. Errors: BLOB_DAMAGED if it is not one of ours. */
export function parseStorageKey(text: string): StorageKey {
  if (text.length > STORAGE_KEY_LENGTH || !STORAGE_KEY.test(text)) {
    throw new RegistryError("BLOB_DAMAGED", { cause: new Error(`not a storage key: ${JSON.stringify(text.slice(0, 100))}`) });
  }
  return text as StorageKey;
}

/** Checks that an upload's id is 8 to 40 characters of `a-z0-9-`. Errors: BLOB_UPLOAD_UNKNOWN. */
export function checkUploadId(uploadId: string): string {
  if (!UPLOAD_ID.test(uploadId)) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
  return uploadId;
}

/** Checks that a process's id is 1 to 32 characters of `a-z0-9-`; a bad one is a defect of the caller. */
export function checkProcessId(processId: string): string {
  if (!PROCESS_ID.test(processId)) throw new Error(`not a process id: ${JSON.stringify(processId)}`);
  return processId;
}

/** Unique names of one process: `<processId>.<n>`. */
export function createNames(processId: string): { next(): string; owns(name: string): boolean } {
  const prefix = `${checkProcessId(processId)}.`;
  let count = 0;
  return {
    next: () => `${prefix}${++count}`,
    owns: (name) => name.startsWith(prefix),
  };
}

/** Checks a segment's name from an upload record. Errors: BLOB_UPLOAD_UNKNOWN. */
export function checkSegmentName(name: unknown): string {
  if (typeof name !== "string" || !SEGMENT_NAME.test(name)) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
  return name;
}

/** A key from a listing, or undefined if the name is not one of ours. */
export function findStorageKey(text: string): StorageKey | undefined {
  return text.length <= STORAGE_KEY_LENGTH && STORAGE_KEY.test(text) ? (text as StorageKey) : undefined;
}

/** The id of the upload that a key was made for, in either layout; undefined if it has none. */
export function uploadIdOf(key: StorageKey): string | undefined {
  const parts = key.split("/");
  const id = parts.length === 3 ? parts[1] : parts[3]?.split(".")[1];
  return id !== undefined && UPLOAD_ID.test(id) ? id : undefined;
}

/**
 * The file or object that says which database the store belongs to. Backups look for it too, so that nobody mistakes a store for a backup.
 */
export const MARK_NAME = "berth-store.json";

/** The content of a mark, readable by people as well. */
export function encodeMark(id: string): string {
  const about = "The blob store of one Berth registry. Its database bears the same id. Keep this file with the store.";
  return `${JSON.stringify({ id, about })}\n`;
}

/** The id in a mark's content. Errors: UNAVAILABLE if there is none. */
export function decodeMark(text: string): string {
  try {
    const { id } = JSON.parse(text) as { id?: unknown };
    if (typeof id === "string" && /^[\da-f-]{36}$/.test(id)) return id;
  } catch {
    // The error is thrown below.
  }
  throw new RegistryError("UNAVAILABLE", {
    cause: new Error(`${MARK_NAME} in the store is damaged: ${JSON.stringify(text.slice(0, 100))}`),
  });
}

/** File system: the mark. */
export function markPath(root: string): string {
  return join(root, MARK_NAME);
}

/** File system: a mark before its link. */
export function newMarkPath(root: string, name: string): string {
  return join(root, "uploads", `mark-${checkSegmentName(name)}`);
}

/** File system: the directory of all uploads. */
export function uploadsDirectory(root: string): string {
  return join(root, "uploads");
}

/** File system: one upload's directory. */
export function uploadDirectory(root: string, uploadId: string): string {
  return join(root, "uploads", checkUploadId(uploadId));
}

/** File system: one segment of an upload. */
export function segmentPath(root: string, uploadId: string, name: string): string {
  return join(uploadDirectory(root, uploadId), checkSegmentName(name));
}

/** File system: the empty file whose name holds the key under which a segment was finished. */
export function markerPath(root: string, uploadId: string, digest: Digest, name: string): string {
  return join(uploadDirectory(root, uploadId), `key.${algorithmOf(digest)}.${hexOf(digest)}.${checkSegmentName(name)}`);
}

/** File system: the key of a marker's file name in an upload's directory, or undefined for other files. */
export function keyOfMarker(uploadId: string, name: string): StorageKey | undefined {
  const match = MARKER.exec(name);
  const digest = match === null ? "" : `${match[1]}:${match[2]}`;
  return isDigest(digest) ? fileKey(digest, uploadId, match?.[3] ?? "") : undefined;
}

/** File system: the file with which the store tests whether it can write. */
export function probePath(root: string, name: string): string {
  return join(root, "uploads", `probe-${checkSegmentName(name)}`);
}

/** File system: the key of a segment that is a whole blob. */
export function fileKey(digest: Digest, uploadId: string, name: string): StorageKey {
  const hex = hexOf(digest);
  return parseStorageKey(`blobs/${algorithmOf(digest)}/${hex.slice(0, 2)}/${hex}.${checkUploadId(uploadId)}.${checkSegmentName(name)}`);
}

/** File system: the file of a key. */
export function blobPath(root: string, key: StorageKey): string {
  return join(root, parseStorageKey(key));
}

/** File system: the directory of all finished blobs. */
export function blobsDirectory(root: string): string {
  return join(root, "blobs");
}

/** File system: the directories above a digest's files, outermost first. */
export function blobDirectories(root: string, digest: Digest): readonly [blobs: string, algorithm: string, shard: string] {
  const algorithm = algorithmOf(digest);
  const blobs = blobsDirectory(root);
  return [blobs, join(blobs, algorithm), join(blobs, algorithm, hexOf(digest).slice(0, 2))];
}

/** S3: the configured prefix of every key, with a slash at its end if it is not empty. A bad one is an error of the configuration. */
export function checkPrefix(prefix: string): string {
  const ended = prefix === "" || prefix.endsWith("/") ? prefix : `${prefix}/`;
  // The first character must not be a dot: many tools treat `..` in a key as a path.
  if (!/^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)*$/.test(ended)) throw new Error(`not an object prefix: ${JSON.stringify(prefix)}`);
  return ended;
}

/** S3: the mark. */
export function markObject(prefix: string): string {
  return `${prefix}${MARK_NAME}`;
}

/** S3: a final key of an upload, under a name of the writing process. */
export function objectKey(uploadId: string, name: string): StorageKey {
  return parseStorageKey(`blobs/${checkUploadId(uploadId)}/${checkSegmentName(name)}`);
}

/** S3: the object of a key. */
export function objectName(prefix: string, key: StorageKey): string {
  return `${prefix}${parseStorageKey(key)}`;
}

/** S3: the object of a segment. The first one is written to its final place, so that an upload of one segment is complete with it. */
export function segmentObject(prefix: string, uploadId: string, segment: { readonly name: string; readonly isFirst: boolean }): string {
  return segment.isFirst
    ? objectName(prefix, objectKey(uploadId, segment.name))
    : `${prefix}uploads/${checkUploadId(uploadId)}/${checkSegmentName(segment.name)}`;
}

/** S3: the key of a listed object. */
export function keyOfObject(prefix: string, object: string): StorageKey {
  return parseStorageKey(object.slice(prefix.length));
}

/** S3: the prefixes of all of an upload's objects, temporary and final. */
export function uploadPrefixes(prefix: string, uploadId: string): { readonly temporary: string; readonly final: string } {
  return { temporary: `${prefix}uploads/${checkUploadId(uploadId)}/`, final: `${prefix}blobs/${checkUploadId(uploadId)}/` };
}

/** S3: the prefixes of all temporary objects, and of all final ones. */
export function storePrefixes(prefix: string): { readonly temporary: string; readonly final: string } {
  return { temporary: `${prefix}uploads/`, final: `${prefix}blobs/` };
}

/** S3: an object that is written while the service's abilities are tested. */
export function probeName(prefix: string, name: string): string {
  const [processId, count] = checkSegmentName(name).split(".");
  return `${prefix}uploads/probe-${processId}/${count}`;
}
