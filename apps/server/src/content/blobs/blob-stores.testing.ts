// The stores that tests run on, each with a fixture: a temporary directory, memory, and a real S3 service if one is configured. Not here:
// the contract (blob-store.contract.ts).
import { mkdtemp, readdir, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import type { BlobStoreFixture } from "./blob-store.contract.ts";
import { createFilesystemStore } from "./filesystem.ts";
import { createMemoryBlobs, createMemoryStore } from "./memory.ts";
import { blobPath } from "./paths.ts";
import { createS3Fixture, readS3TestSettings } from "./s3.testing.ts";

/** Every file below a directory, by its relative path. */
export async function listFiles(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => !entry.isDirectory()).map((entry) => relative(root, join(entry.parentPath, entry.name)));
}

/** Every file below a directory, and the uploads' directories. */
async function listStored(root: string): Promise<string[]> {
  const uploads = await readdir(join(root, "uploads")).catch(() => []);
  return [...new Set([...(await listFiles(root)), ...uploads.map((name) => join("uploads", name))])].toSorted();
}

async function createFilesystemFixture(): Promise<BlobStoreFixture> {
  const root = await mkdtemp(join(tmpdir(), "berth-blobs-"));
  return {
    open: (processId) => createFilesystemStore({ root, processId }),
    leftovers: () => listStored(root),
    truncate: (key, sizeBytes) => truncate(blobPath(root, key), sizeBytes),
    // The sizes at which the writer changes buffers.
    edges: [64 * 1024, 1024 * 1024],
    remove: () => rm(root, { recursive: true }),
  };
}

async function createMemoryFixture(): Promise<BlobStoreFixture> {
  const memory = createMemoryBlobs();
  return {
    open: (processId) => createMemoryStore({ processId, memory }),
    leftovers: async () => [...memory.segments.keys(), ...memory.blobs.keys()],
    truncate: async (key, sizeBytes) => {
      const blob = memory.blobs.get(key);
      if (blob !== undefined) memory.blobs.set(key, { ...blob, bytes: blob.bytes.subarray(0, sizeBytes) });
    },
    edges: [],
    remove: async () => undefined,
  };
}

/**
 * Calls back with each store that can be tested here, or with a reason to skip it. S3 needs BERTH_TEST_S3 = JSON { endpoint, region,
 * accessKeyId, secretAccessKey, bucket, dialect? }.
 */
export function forEachBlobStore(run: (name: string, create: (() => Promise<BlobStoreFixture>) | { readonly skip: string }) => void): void {
  run("filesystem", createFilesystemFixture);
  run("memory", createMemoryFixture);
  const s3 = readS3TestSettings();
  if (s3 === undefined) run("s3", { skip: "BERTH_TEST_S3 is not set" });
  else run(`s3 (${s3.dialect})`, () => createS3Fixture(s3));
}
