// A backup below a prefix of an S3 bucket. Not here: the requests (content/blobs/s3-client.ts).
import { connectBucket } from "../../content/blobs/s3-client.ts";
import { S3_DIALECTS } from "../../content/blobs/s3-dialects.ts";
import { readObject } from "../../content/blobs/s3-read.ts";
import { writeObject } from "../../content/blobs/s3-write.ts";
import type { BackupPlace, PlaceAddress } from "./backup-place.ts";

/** Opens a place in a bucket, which must exist. */
export async function openS3Place({ bucket: name, prefix, access }: Extract<PlaceAddress, { kind: "s3" }>): Promise<BackupPlace> {
  const bucket = await connectBucket({ ...access, bucket: name, dialect: S3_DIALECTS[access.dialect] });
  const objectOf = (file: string): string => `${prefix}${file}`;
  return {
    shown: `s3://${name}/${prefix}`,
    sizeOf: (file) => bucket.sizeOf(objectOf(file)),
    async write(file, body) {
      const sizeBytes = await writeObject(bucket, objectOf(file), body, access.partSizeBytes, () => undefined);
      if (sizeBytes === 0) await bucket.put(objectOf(file), Buffer.alloc(0));
      return sizeBytes;
    },
    read: (file, sizeBytes) => readObject(bucket, objectOf(file), 0, sizeBytes - 1),
    async *list(folder) {
      for await (const each of bucket.list(objectOf(folder))) yield each.name.slice(prefix.length);
    },
    delete: (files) => bucket.delete(files.map(objectOf)),
    // A PUT that was answered is durable.
    sync: async () => undefined,
    close: async () => bucket.close(),
  };
}
