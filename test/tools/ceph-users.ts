// Users of Ceph's object gateway with a quota, as its operator creates them, and the gateway's log of their requests. Not here: starting
// the gateway (servers.ts).
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import { ensureTool } from "./install.ts";
import { type CephServer, type S3Target } from "./servers.ts";

const run = promisify(execFile);

/** A user with one empty bucket. */
export interface CephUser {
  readonly target: S3Target;
  /** Sets how many bytes the user may store in all. */
  setQuota(bytes: number): Promise<void>;
  /** The requests of this user that were answered, such as `PUT /bucket/key` with 403, in order. */
  requests(): Promise<readonly { readonly what: string; readonly status: number }[]>;
  /** Removes the user with all stored content. */
  remove(): Promise<void>;
}

/** Creates a user without a quota. Errors: ToolUnavailable. */
export async function createCephUser(server: CephServer): Promise<CephUser> {
  await ensureTool("radosgw");
  const uid = `berth-${randomBytes(6).toString("hex")}`;
  const [accessKeyId, secretAccessKey] = [randomBytes(8).toString("hex"), randomBytes(16).toString("hex")];
  const admin = async (...args: string[]): Promise<void> => {
    await run("radosgw-admin", ["-c", join(server.folder, "ceph.conf"), ...args, `--uid=${uid}`]);
  };
  await admin("user", "create", `--display-name=${uid}`, `--access-key=${accessKeyId}`, `--secret-key=${secretAccessKey}`);
  const { endpoint, region } = server.target;
  const bucket = `${uid}-bucket`;
  const client = new S3Client({ endpoint, region, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
  try {
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
  } finally {
    client.destroy();
  }
  return {
    target: { endpoint, region, accessKeyId, secretAccessKey, bucket },
    async setQuota(bytes) {
      await admin("quota", "set", "--quota-scope=user", `--max-size=${bytes}`);
      await admin("quota", "enable", "--quota-scope=user");
    },
    async requests() {
      const log = await readFile(join(server.folder, "log", "client.rgw.log"), "utf8");
      const lines = log.matchAll(new RegExp(` ${uid} \\[[^\\]]*\\] "(\\S+ \\S+) HTTP/1\\.1" (\\d+) `, "g"));
      return Array.from(lines, ([, what = "", status]) => ({ what, status: Number(status) }));
    },
    remove: () => admin("user", "rm", "--purge-data"),
  };
}
