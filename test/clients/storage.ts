// Berth's settings for a PostgreSQL and a Ceph of a test's own. Not here: starting them (test/tools/servers.ts).
import { randomBytes } from "node:crypto";
import type { PostgresServer, S3Target } from "../tools/servers.ts";

/** The settings for blobs in a bucket of Ceph. */
export function cephSettings(target: S3Target): Record<string, string> {
  return {
    "storage.kind": "s3",
    "storage.s3.dialect": "ceph",
    "storage.s3.forcePathStyle": "true",
    "storage.s3.endpoint": target.endpoint,
    "storage.s3.region": target.region,
    "storage.s3.bucket": target.bucket,
    "storage.s3.accessKeyId": target.accessKeyId,
    "storage.s3.secretAccessKey": target.secretAccessKey,
  };
}

/** The settings for a new database of PostgreSQL. */
export async function postgresSettings(server: PostgresServer): Promise<Record<string, string>> {
  return { "database.url": await server.createDatabase(), "auth.secretKey": randomBytes(32).toString("hex") };
}
