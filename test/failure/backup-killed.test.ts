// A backup to a bucket and a pruning of it are killed in the middle: every listed snapshot can be restored throughout, the two exclude each
// other, and the next pruning removes what both left. Not here: every step (commands/backup), a full place (disk-full.test.ts).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ListMultipartUploadsCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { openFaultyLink } from "../replicas/faulty-link.ts";
import { skipOrThrow } from "../tools/install.ts";
import { atOurEnd, temporaryFolder } from "../tools/processes.ts";
import { startVersitygw } from "../tools/servers.ts";
import { makeImage, startAudited } from "./audited-session.ts";
import { runRole } from "./server-process.ts";

const MIB = 1024 * 1024;
const LAUNCHER = join(import.meta.dirname, "../../apps/server/bin/berth-server.mjs");
const PREFIX = "kept/";

it("backup killed: leaves every moment whole when a backup to a bucket, or its pruning, is killed", async (t) => {
  const s3 = await startVersitygw().catch((error: unknown) => skipOrThrow(t, error));
  if (s3 === undefined) return;
  const link = await openFaultyLink(s3.target.endpoint);
  const folder = await temporaryFolder("backup-killed");
  const { bucket: Bucket, endpoint, region, accessKeyId, secretAccessKey } = s3.target;
  const client = new S3Client({ endpoint, region, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
  // An address with an endpoint of its own gets its keys from these variables; this process has no others.
  Object.assign(process.env, { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey });
  const settings = { data: join(folder, "berth"), "storage.s3.partSizeBytes": String(5 * MIB), "limits.uploadBytes": "1GiB" };
  const server = await startAudited({ settings });
  t.after(async () => {
    await server.kill();
    client.destroy();
    await link.stop();
    await s3.stop();
    await rm(folder, { recursive: true, force: true });
  });

  const placeAt = (origin: string): string => `s3://${Bucket}/${PREFIX}?endpoint=${origin}&region=${region}&dialect=minio`;
  const place = placeAt(endpoint);
  const run = async (code: number, ...role: readonly string[]): Promise<string> => {
    const ended = await runRole(role, settings);
    assert.equal(ended.code, code, `${role.join(" ")}: ${ended.stdout}${ended.stderr}`);
    return ended.stdout + ended.stderr;
  };
  /** Runs a command over a slow line, and kills it once `isReached`. */
  async function killWhen(isReached: () => Promise<boolean>, ...role: readonly string[]): Promise<void> {
    link.set("slow");
    const flags = Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
    const child = spawn(process.execPath, [LAUNCHER, ...role, ...flags], { stdio: "ignore" });
    const callOff = atOurEnd(() => child.kill("SIGKILL"));
    const ended = once(child, "exit").finally(callOff);
    while (child.exitCode === null && !(await isReached())) await sleep(20);
    assert.equal(child.exitCode, null, `${role.join(" ")} ended by itself`);
    child.kill("SIGKILL");
    await ended;
    // Data in flight arrives nowhere.
    link.set("refuse");
  }
  const names = async (below: string): Promise<string[]> => {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket, Prefix: `${PREFIX}${below}` }));
    return Contents.map(({ Key = "" }) => Key);
  };
  const multiparts = async (): Promise<number> => (await client.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads?.length ?? 0;
  const snapshots = async (): Promise<string[]> => {
    const { code, stdout, stderr } = await runRole(["backup", "list", place, "--json"], settings);
    assert.equal(code, 0, stderr);
    return stdout
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => (JSON.parse(line) as { snapshot: string }).snapshot);
  };
  const checkAll = async (): Promise<string[]> => {
    const all = await snapshots();
    for (const snapshot of all) await run(0, "restore", place, "--check", "--snapshot", snapshot);
    return all;
  };

  for (const tag of ["first", "second"]) {
    await server.push(makeImage("library/app", tag, MIB));
    await run(0, "backup", place);
  }
  const [first, second] = (await snapshots()) as [string, string];
  await server.push(makeImage("library/app", "large", 30 * MIB));

  await killWhen(async () => (await multiparts()) > 0, "backup", placeAt(link.origin));
  assert.equal(await multiparts(), 1);
  assert.deepEqual(await checkAll(), [first, second]);
  // Nobody knows that it is dead until its lock is ten minutes old.
  assert.match(await run(2, "backup", "prune", place, "--keep", "1", "--yes"), /a backup is under way/);
  const [turn] = await names("turns/");
  await client.send(new PutObjectCommand({ Bucket, Key: turn!, Body: new Date(Date.now() - 11 * 60_000).toISOString() }));

  const isFirstGone = async (): Promise<boolean> => !(await names("snapshots/")).includes(`${PREFIX}snapshots/${first}/manifest.json`);
  await killWhen(isFirstGone, "backup", "prune", placeAt(link.origin), "--keep", "1", "--yes");
  assert.deepEqual(await checkAll(), [second]);
  assert.match(await run(2, "backup", place), /a pruning is under way/);
  await run(0, "backup", "prune", place, "--keep", "1", "--yes");
  assert.deepEqual(await checkAll(), [second]);
  assert.equal(await multiparts(), 0);
  assert.deepEqual(await names("turns/"), []);
  assert.deepEqual(
    (await names("snapshots/")).filter((name) => !name.startsWith(`${PREFIX}snapshots/${second}/`)),
    [],
  );
  await run(0, "backup", place);
  assert.equal((await checkAll()).length, 2);
});
