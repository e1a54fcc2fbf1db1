// Blobs in this process's memory, for tests, and as the contract's simplest implementation. Not here: anything that a registry should keep.
import { RegistryError } from "@berth/oci/errors";
import type { BlobStore, StorageKey, UploadRecord } from "./blob-store.ts";
import { PIECE_BYTES } from "./buffer-pool.ts";
import { checkUploadId, createNames, objectKey } from "./paths.ts";

/** The bytes that several memory stores share, as several processes share a disk. */
export interface MemoryBlobs {
  readonly segments: Map<string, Buffer>;
  readonly blobs: Map<StorageKey, { readonly uploadId: string; readonly bytes: Buffer }>;
  readonly mark: { id: string | undefined };
}

/** Creates empty shared memory. */
export function createMemoryBlobs(): MemoryBlobs {
  return { segments: new Map(), blobs: new Map(), mark: { id: undefined } };
}

/** Creates a store over shared memory. */
export function createMemoryStore({ processId, memory }: { readonly processId: string; readonly memory: MemoryBlobs }): BlobStore {
  const names = createNames(processId);
  const { segments, blobs } = memory;

  function namesOf(record: UploadRecord): readonly string[] {
    if (!Array.isArray(record["segments"])) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
    return record["segments"] as string[];
  }

  function contentOf(record: UploadRecord): Buffer {
    return Buffer.concat(
      namesOf(record).map((name) => {
        const bytes = segments.get(name);
        if (bytes === undefined) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
        return bytes;
      }),
    );
  }

  function removeSegments(uploadId: string): void {
    for (const name of segments.keys()) if (name.startsWith(`${uploadId}/`)) segments.delete(name);
  }

  return {
    kind: "memory",
    begin: (uploadId) => {
      checkUploadId(uploadId);
      return { segments: [] };
    },
    append: async (uploadId, record, body, options) => {
      if (contentOf(record).length !== options.offsetBytes) throw new Error("the upload's record and its offset differ");
      const pieces: Buffer[] = [];
      for await (const piece of body) {
        options.onBytes(piece);
        pieces.push(Buffer.from(piece));
      }
      const bytes = Buffer.concat(pieces);
      if (bytes.length === 0) return { record, writtenBytes: 0 };
      const name = `${uploadId}/${names.next()}`;
      segments.set(name, bytes);
      return { record: { segments: [...namesOf(record), name] }, writtenBytes: bytes.length };
    },
    finish: async (uploadId, record, { sizeBytes, onBytes }) => {
      const settled = blobs.entries().find(([, blob]) => blob.uploadId === uploadId && blob.bytes.length === sizeBytes);
      const bytes = settled?.[1].bytes ?? contentOf(record);
      if (bytes.length !== sizeBytes) throw new RegistryError("BLOB_UPLOAD_INVALID");
      onBytes?.(bytes);
      const key = settled?.[0] ?? objectKey(uploadId, names.next());
      blobs.set(key, { uploadId, bytes });
      return { key, sizeBytes };
    },
    undoAppend: async (_uploadId, from, to) => {
      const known = new Set(namesOf(from));
      for (const name of namesOf(to)) if (!known.has(name)) segments.delete(name);
    },
    removeLeftovers: async (uploadId) => removeSegments(uploadId),
    isAlone: () => true,
    abort: async (uploadId, _record, bound) => {
      for (const [key, blob] of blobs) if (blob.uploadId === uploadId && !(await bound(key))) blobs.delete(key);
      removeSegments(uploadId);
    },
    stat: async (key) => {
      const blob = blobs.get(key);
      return blob === undefined ? undefined : { sizeBytes: blob.bytes.length };
    },
    read: async function* (key, start, end, sizeBytes) {
      const bytes = blobs.get(key)?.bytes;
      if (bytes === undefined || bytes.length <= end || bytes.length !== (sizeBytes ?? bytes.length))
        throw new RegistryError("BLOB_DAMAGED");
      for (let at = start; at <= end; at += PIECE_BYTES) yield bytes.subarray(at, Math.min(at + PIECE_BYTES, end + 1));
    },
    signedUrl: async () => undefined,
    list: async function* (startAfter = "" as StorageKey) {
      for (const key of [...blobs.keys()].toSorted()) {
        const bytes = blobs.get(key)?.bytes;
        if (bytes !== undefined && key > startAfter) yield { key, sizeBytes: bytes.length, changedAt: new Date() };
      }
    },
    delete: async (keys) => keys.forEach((key) => blobs.delete(key)),
    sweep: async () => 0,
    readMark: async () => memory.mark.id,
    putMark: async (id, options) => {
      if (memory.mark.id === undefined || memory.mark.id === options?.replaces) memory.mark.id = id;
      return memory.mark.id;
    },
    probe: async () => undefined,
    close: async () => undefined,
  };
}
