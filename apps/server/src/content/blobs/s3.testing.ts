// A fixture over a real S3 service, which BERTH_TEST_S3 names. Not here: starting one.
import { randomUUID } from "node:crypto";
import type { BlobStoreFixture } from "./blob-store.contract.ts";
import { objectName } from "./paths.ts";
import { connectBucket } from "./s3-client.ts";
import { S3_DIALECTS, type S3DialectName } from "./s3-dialects.ts";
import { createS3Store } from "./s3.ts";
import type { BlobStore } from "./blob-store.ts";

/** The service for tests. */
export interface S3TestSettings {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly bucket: string;
  readonly dialect: S3DialectName;
}

/** Reads BERTH_TEST_S3; undefined if it is not set. */
export function readS3TestSettings(): S3TestSettings | undefined {
  const text = process.env["BERTH_TEST_S3"];
  return text === undefined || text === "" ? undefined : { dialect: "generic", ...(JSON.parse(text) as Omit<S3TestSettings, "dialect">) };
}

const MIB = 1024 * 1024;
/** The smallest size that the API allows, so that tests reach it cheaply. */
export const TEST_PART_BYTES = 5 * MIB;

/** Processes that a test can address by number. */
const NUMBERED_PROCESSES = 60;

/** Creates the bucket if it is missing, and a fixture below a prefix of its own. */
export async function createS3Fixture(settings: S3TestSettings): Promise<BlobStoreFixture> {
  const sdk = await import("@aws-sdk/client-s3");
  const { bucket: Bucket, endpoint, region, accessKeyId, secretAccessKey } = settings;
  const admin = new sdk.S3Client({ endpoint, region, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
  try {
    await admin.send(new sdk.HeadBucketCommand({ Bucket }));
  } catch {
    await admin.send(new sdk.CreateBucketCommand({ Bucket }));
  }
  admin.destroy();
  const prefix = `test-${randomUUID()}/`;
  const options = { ...settings, forcePathStyle: true, prefix, partSizeBytes: TEST_PART_BYTES, uploadMemoryBytes: 16 * TEST_PART_BYTES };
  const bucket = await connectBucket({ ...options, dialect: S3_DIALECTS[settings.dialect] });
  const stores = new Map<string, BlobStore>();
  // Created in advance, because opening is synchronous for the other stores: the contract's three, and as many numbered ones as a suite
  // starts processes.
  const processIds = ["process-a", "process-b", "process-c", ...Array.from({ length: NUMBERED_PROCESSES }, (_, i) => `process-${i + 1}`)];
  for (const processId of processIds) stores.set(processId, await createS3Store({ ...options, processId }));
  return {
    open: (processId) => {
      const store = stores.get(processId);
      if (store === undefined) throw new Error(`no store for ${processId}`);
      return store;
    },
    leftovers: async () => {
      const names: string[] = [];
      for await (const { name } of bucket.list(prefix)) names.push(name.slice(prefix.length));
      for await (const { name, multipartId } of bucket.listMultiparts(prefix))
        names.push(`${name.slice(prefix.length)}?uploadId=${multipartId}`);
      return names.toSorted();
    },
    truncate: async (key, sizeBytes) => {
      const kept: Uint8Array[] = [];
      const answer = await bucket.get(objectName(prefix, key), 0, sizeBytes - 1);
      for await (const piece of (answer?.body ?? []) as AsyncIterable<Uint8Array>) kept.push(piece);
      await bucket.put(objectName(prefix, key), Buffer.concat(kept));
    },
    edges: [MIB, TEST_PART_BYTES],
    remove: async () => bucket.close(),
  };
}
