// The stored layout, drawn once. Nothing else builds a path or an object key, so nothing else can let one escape.
// Not here: reading or writing what lies there.
//
//   File system                                        S3
//   <root>/                                            <prefix>
//     berth-store.json             whose store this is     berth-store.json             whose store this is
//     uploads/                     temporary             uploads/                     temporary
//       <uploadId>/                                        <uploadId>/<segment>       segments after the first
//         <segment>                                        probe-<processId>/<n>      while probing
//         key.<algorithm>.<hex>.<segment>                blobs/                       final
//           says that this segment became a blob           <uploadId>/<segment>       the first segment, mostly the only one
//       probe-<segment>            while probing
//     blobs/                       final
//       <algorithm>/<2 hex>/<hex>.<uploadId>.<segment>
//
// A segment is named `<processId>.<n>`, where n counts what one process writes: a name is never used twice. A final name holds its
// segment's, so it stands for the same bytes for ever: deleting one copy of a blob cannot hit another one that was just pushed, and a
// request that comes too late cannot put other bytes in its place.
import { join } from "node:path";
import { algorithmOf, hexOf, isDigest, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { StorageKey } from "./blob-store.ts";

// No dot and no slash: an id is always exactly one path segment. 40 and 32: with a sha512 a file name still has less than 255 bytes.
const UPLOAD_ID = /^[a-z0-9][a-z0-9-]{7,39}$/;
const PROCESS_ID = /^[a-z0-9][a-z0-9-]{0,31}$/;
const SEGMENT_NAME = /^[a-z0-9][a-z0-9-]{0,31}\.[0-9]{1,15}$/;
// Single dots inside a segment only, so neither "." nor ".." can be one. 300: the longest name and what is in front of it.
const STORAGE_KEY = /^blobs(?:\/[a-z0-9-]+(?:\.[a-z0-9-]+)*){1,3}$/;
const STORAGE_KEY_LENGTH = 300;
const MARKER = /^key\.(sha256|sha512)\.([0-9a-f]+)\.([a-z0-9-]+\.[0-9]+)$/;

/** Reads a key from the database. Errors: BLOB_DAMAGED where it is not one of ours. */
export function parseStorageKey(text: string): StorageKey {
  if (text.length > STORAGE_KEY_LENGTH || !STORAGE_KEY.test(text)) {
    throw new RegistryError("BLOB_DAMAGED", { cause: new Error(`not a storage key: ${JSON.stringify(text.slice(0, 100))}`) });
  }
  return text as StorageKey;
}

/** Checks that an upload's id is 8 to 40 of `a-z0-9-`. Errors: BLOB_UPLOAD_UNKNOWN. */
export function checkUploadId(uploadId: string): string {
  if (!UPLOAD_ID.test(uploadId)) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
  return uploadId;
}

/** Checks that a process's id is 1 to 32 of `a-z0-9-`; a bad one is a defect of whoever starts the store. */
export function checkProcessId(processId: string): string {
  if (!PROCESS_ID.test(processId)) throw new Error(`not a process id: ${JSON.stringify(processId)}`);
  return processId;
}

/** Names of one process that never repeat: `<processId>.<n>`. */
export function createNames(processId: string): { next(): string; owns(name: string): boolean } {
  const prefix = `${checkProcessId(processId)}.`;
  let count = 0;
  return {
    next: () => `${prefix}${++count}`,
    owns: (name) => name.startsWith(prefix),
  };
}

/** Checks a segment's name out of an upload record. Errors: BLOB_UPLOAD_UNKNOWN. */
export function checkSegmentName(name: unknown): string {
  if (typeof name !== "string" || !SEGMENT_NAME.test(name)) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
  return name;
}

/** A key out of a listing, or undefined where the name is none of ours. */
export function findStorageKey(text: string): StorageKey | undefined {
  return text.length <= STORAGE_KEY_LENGTH && STORAGE_KEY.test(text) ? (text as StorageKey) : undefined;
}

/** The id of the upload that a key was made for, in either layout; undefined where it names none. */
export function uploadIdOf(key: StorageKey): string | undefined {
  const parts = key.split("/");
  const id = parts.length === 3 ? parts[1] : parts[3]?.split(".")[1];
  return id !== undefined && UPLOAD_ID.test(id) ? id : undefined;
}

/** The file or object that says which database the store belongs to; backups look for it too, lest a store be taken for one. */
export const MARK_NAME = "berth-store.json";

/** What a mark holds; for people as well. */
export function encodeMark(id: string): string {
  const about = "The blob store of one Berth registry. Its database bears the same id. Keep this file with the store.";
  return `${JSON.stringify({ id, about })}\n`;
}

/** The id of a mark's content. Errors: UNAVAILABLE where it is none. */
export function decodeMark(text: string): string {
  try {
    const { id } = JSON.parse(text) as { id?: unknown };
    if (typeof id === "string" && /^[\da-f-]{36}$/.test(id)) return id;
  } catch {
    // Said below.
  }
  throw new RegistryError("UNAVAILABLE", {
    cause: new Error(`${MARK_NAME} in the store is damaged: ${JSON.stringify(text.slice(0, 100))}`),
  });
}

/** File system: the mark. */
export function markPath(root: string): string {
  return join(root, MARK_NAME);
}

/** File system: a mark on its way. */
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

/** File system: the empty file whose name says which key a segment was finished under. */
export function markerPath(root: string, uploadId: string, digest: Digest, name: string): string {
  return join(uploadDirectory(root, uploadId), `key.${algorithmOf(digest)}.${hexOf(digest)}.${checkSegmentName(name)}`);
}

/** File system: the key that a file name in an upload's directory stands for, or undefined where it is no marker. */
export function keyOfMarker(uploadId: string, name: string): StorageKey | undefined {
  const match = MARKER.exec(name);
  const digest = match === null ? "" : `${match[1]}:${match[2]}`;
  return isDigest(digest) ? fileKey(digest, uploadId, match?.[3] ?? "") : undefined;
}

/** File system: where the store tries whether it can write. */
export function probePath(root: string, name: string): string {
  return join(root, "uploads", `probe-${checkSegmentName(name)}`);
}

/** File system: the key that a segment gets when it is a whole blob. */
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

/** S3: the setting that stands before every key, ended with a slash where it is not empty. A bad one is an error of the configuration. */
export function checkPrefix(prefix: string): string {
  const ended = prefix === "" || prefix.endsWith("/") ? prefix : `${prefix}/`;
  // A first character that is no dot: many tools take `..` in a key for a path.
  if (!/^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)*$/.test(ended)) throw new Error(`not an object prefix: ${JSON.stringify(prefix)}`);
  return ended;
}

/** S3: the mark. */
export function markObject(prefix: string): string {
  return `${prefix}${MARK_NAME}`;
}

/** S3: a final key of an upload, under a name of the process that writes it. */
export function objectKey(uploadId: string, name: string): StorageKey {
  return parseStorageKey(`blobs/${checkUploadId(uploadId)}/${checkSegmentName(name)}`);
}

/** S3: the object of a key. */
export function objectName(prefix: string, key: StorageKey): string {
  return `${prefix}${parseStorageKey(key)}`;
}

/** S3: the object of a segment. The first one lies where it can stay for ever, so that an upload of one segment is done when it is. */
export function segmentObject(prefix: string, uploadId: string, segment: { readonly name: string; readonly isFirst: boolean }): string {
  return segment.isFirst
    ? objectName(prefix, objectKey(uploadId, segment.name))
    : `${prefix}uploads/${checkUploadId(uploadId)}/${checkSegmentName(segment.name)}`;
}

/** S3: the key of an object found by listing. */
export function keyOfObject(prefix: string, object: string): StorageKey {
  return parseStorageKey(object.slice(prefix.length));
}

/** S3: what all of an upload's objects begin with, temporary and final. */
export function uploadPrefixes(prefix: string, uploadId: string): { readonly temporary: string; readonly final: string } {
  return { temporary: `${prefix}uploads/${checkUploadId(uploadId)}/`, final: `${prefix}blobs/${checkUploadId(uploadId)}/` };
}

/** S3: what all temporary objects, and all final ones, begin with. */
export function storePrefixes(prefix: string): { readonly temporary: string; readonly final: string } {
  return { temporary: `${prefix}uploads/`, final: `${prefix}blobs/` };
}

/** S3: an object written while the store's abilities are tried. */
export function probeName(prefix: string, name: string): string {
  const [processId, count] = checkSegmentName(name).split(".");
  return `${prefix}uploads/probe-${processId}/${count}`;
}
