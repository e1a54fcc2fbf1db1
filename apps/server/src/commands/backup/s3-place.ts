// A backup below a prefix of an S3 bucket. Not here: the requests (content/blobs/s3-client.ts).
import { connectBucket } from "../../content/blobs/s3-client.ts";
import { S3_DIALECTS } from "../../content/blobs/s3-dialects.ts";
import { readObject } from "../../content/blobs/s3-read.ts";
import { writeObject, type PartRules } from "../../content/blobs/s3-write.ts";
import { createUploadMemory } from "../../content/blobs/upload-memory.ts";
import { isBackupFile } from "./backup-format.ts";
import type { BackupPlace, PlaceAddress } from "./backup-place.ts";

/** Parts in memory at a time: a backup writes few files at once, and each sends three parts while the next is filled. */
const PARTS_IN_MEMORY = 16;
/** As long as a failing service may take to answer; by then another file's parts are sent. */
const MEMORY_WAIT_MS = 60_000;

/** Opens a place in a bucket, which must exist. */
export async function openS3Place({ bucket: name, prefix, access }: Extract<PlaceAddress, { kind: "s3" }>): Promise<BackupPlace> {
  const bucket = await connectBucket({ ...access, bucket: name, dialect: S3_DIALECTS[access.dialect] });
  const rules: PartRules = {
    sizeBytes: access.partSizeBytes,
    mayDiffer: S3_DIALECTS[access.dialect].unequalParts,
    memory: createUploadMemory({ maxBytes: PARTS_IN_MEMORY * access.partSizeBytes, waitMs: MEMORY_WAIT_MS }),
  };
  const objectOf = (file: string): string => `${prefix}${file}`;
  return {
    shown: `s3://${name}/${prefix}`,
    async requireThere() {
      // A prefix exists as soon as something is below it: only the bucket can be missing, and listing it fails then.
      for await (const _ of bucket.list(prefix)) return;
    },
    sizeOf: (file) => bucket.sizeOf(objectOf(file)),
    async write(file, body) {
      const sizeBytes = await writeObject(bucket, objectOf(file), body, rules, () => undefined);
      if (sizeBytes === 0) await bucket.put(objectOf(file), Buffer.alloc(0));
      return sizeBytes;
    },
    read: (file, sizeBytes) => readObject(bucket, objectOf(file), 0, sizeBytes - 1),
    async *list(folder) {
      for await (const each of bucket.list(objectOf(folder))) yield each.name.slice(prefix.length);
    },
    async *listSized(folder) {
      for await (const { name: object, sizeBytes } of bucket.list(objectOf(folder))) yield { name: object.slice(prefix.length), sizeBytes };
    },
    async *listUnfinished() {
      for (const folder of ["blobs/", "snapshots/"]) {
        for await (const { name: object, multipartId } of bucket.listMultiparts(objectOf(folder))) {
          // If a registry shares bucket and prefix, its own uploads are below a folder of the same name.
          if (isBackupFile(object.slice(prefix.length))) yield { remove: () => bucket.abortMultipart(object, multipartId) };
        }
      }
    },
    delete: (files) => bucket.delete(files.map(objectOf)),
    // A PUT that was answered is durable.
    sync: async () => undefined,
    close: async () => bucket.close(),
  };
}
