// A bucket's owner has reached the quota, on a real Ceph: uploads are refused with a code that says so, once and without leftovers,
// everything else continues, and with a higher quota uploads work again. Not here: full disks (disk-full.test.ts, database-disk.test.ts).
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { ListMultipartUploadsCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { digestOf } from "@berth/oci/digest";
import { cephSettings } from "../clients/storage.ts";
import { createCephUser } from "../tools/ceph-users.ts";
import { skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { startCephRgw } from "../tools/servers.ts";
import { type Answer, type AuditedServer, makeImage, startAudited } from "./audited-session.ts";
import { runRole } from "./server-process.ts";

const MIB = 1024 * 1024;
const OCTETS = "application/octet-stream";

async function readinessOf(server: AuditedServer): Promise<string> {
  const { status, state, checks } = await server.readiness();
  return `${status} ${state} ${checks["store"]}`;
}

function assertRefused(what: string, answer: Answer): void {
  assert.equal(answer.code, "STORAGE_FULL", `${what}: ${answer.text}`);
  assert.equal(answer.status, 507);
  assert.match(answer.headers.get("retry-after") ?? "", /^\d+$/);
}

it("store quota: refuses uploads while a quota of Ceph is used up, loses and leaves nothing, and goes on when it is raised", async (t) => {
  const ceph = await startCephRgw().catch((error: unknown) => skipOrThrow(t, error));
  if (ceph === undefined) return;
  const user = await createCephUser(ceph);
  // From the beginning: content stored without a quota is only counted minutes later.
  await user.setQuota(100 * MIB);
  const { bucket: Bucket, endpoint, region, accessKeyId, secretAccessKey } = user.target;
  const s3 = new S3Client({ endpoint, region, forcePathStyle: true, credentials: { accessKeyId, secretAccessKey } });
  const multiparts = async (): Promise<number> => (await s3.send(new ListMultipartUploadsCommand({ Bucket }))).Uploads?.length ?? 0;
  // Without the mark that names the store's owner.
  const objects = async (): Promise<number> =>
    ((await s3.send(new ListObjectsV2Command({ Bucket }))).Contents ?? []).filter(({ Key }) => Key?.endsWith("berth-store.json") !== true)
      .length;

  const folder = await temporaryFolder("quota");
  const settings = {
    ...cephSettings(user.target),
    data: join(folder, "berth"),
    "gc.leaseSeconds": "5s",
    "gc.graceSeconds": "0s",
    "gc.intervalSeconds": "1s",
  };
  let server = await startAudited({ settings });
  t.after(async () => {
    await server.kill();
    s3.destroy();
    await user.remove();
    await ceph.stop();
    await rm(folder, { recursive: true, force: true });
  });
  const kept = makeImage("library/app", "kept", 8 * MIB);
  const gone = makeImage("library/app", "gone", 7 * MIB);
  await server.push(kept);
  await server.push(gone);
  const begun = await server.send("POST", "/v2/library/app/blobs/uploads/");
  const session = begun.headers.get("location")!;
  const [one, other] = [makeImage("a", "a", 6 * MIB).layer, makeImage("a", "a", 12 * MIB).layer];
  assert.equal((await server.send("PATCH", session, { body: one, type: OCTETS })).status, 202);
  assert.equal(await objects(), 3);

  // 21 MiB are used; half a MiB is left.
  await user.setQuota(21.5 * MIB);
  const before = (await user.requests()).length;
  const large = makeImage("library/app", "large", 36 * MIB);
  const refusals: readonly (readonly [string, () => Promise<Answer>])[] = [
    ["in parts", () => server.pushBlob("library/app", large.layer)],
    ["at once", () => server.pushBlob("library/app", large.layer.subarray(0, 12 * MIB))],
    [
      "next chunk",
      () => server.send("PATCH", session, { body: other, type: OCTETS, headers: { "content-range": `${6 * MIB}-${18 * MIB - 1}` } }),
    ],
  ];
  for (let turn = 0; turn < 3; turn++) for (const [what, refused] of refusals) assertRefused(what, await refused());
  const refused = (await user.requests()).slice(before).filter(({ what, status }) => what.startsWith("PUT ") && status !== 200);
  assert.deepEqual([...new Set(refused.map(({ status }) => status))], [403]);
  // A retry would change nothing, and would send a whole part each time.
  assert.equal(new Set(refused.map(({ what }) => what)).size, refused.length, refused.map(({ what }) => what).join("\n"));
  assert.ok(refused.length <= 3 * (3 + 1 + 2), `${refused.length} requests`);
  t.diagnostic(`${refused.length} requests refused for 9 uploads`);
  assert.equal(await multiparts(), 0);
  assert.equal(await objects(), 3);

  // A few bytes would still fit: the refused size counts. A busy service may be too slow for one probe.
  await server.until("word of the quota", async () => (await readinessOf(server)) === "200 full STORAGE_FULL");
  await server.pull(kept);
  await server.pull(gone);
  const small = makeImage("library/app", "small", 10_000);
  await server.push(small);
  const faults = await server.audit();

  // It also starts while the quota is reached.
  await user.setQuota(20 * MIB);
  await server.kill();
  server = await startAudited({ settings });
  await server.until("word of the quota", async () => (await readinessOf(server)) === "200 full STORAGE_FULL");
  await server.pull(kept);

  // Deletion, or a higher quota, frees space; nothing else is needed.
  assert.equal((await server.send("DELETE", `/v2/library/app/manifests/${gone.digest}`)).status, 202);
  await server.until("room by collection", async () => (await readinessOf(server)) === "200 ok ok");
  assert.equal((await server.pushBlob("library/app", large.layer.subarray(0, 4 * MIB))).status, 201);
  assertRefused("in parts", await server.pushBlob("library/app", large.layer));
  await user.setQuota(100 * MIB);
  await server.until("room by quota", async () => (await readinessOf(server)) === "200 ok ok");
  await server.push(large);
  const type = { body: other, type: OCTETS, headers: { "content-range": `${6 * MIB}-${18 * MIB - 1}` } };
  assert.equal((await server.send("PATCH", session, type)).status, 202);
  const ended = await server.send("PUT", `${session}?digest=${digestOf(Buffer.concat([one, other]))}`);
  assert.equal(ended.status, 201, ended.text);
  for (const image of [kept, small, large]) await server.pull(image);
  t.diagnostic(`${faults + (await server.audit())} answers of 5xx, each with its cause in the log`);
  assert.equal(await multiparts(), 0);
  // Manifests hold two layers; the leases of the others end.
  await server.until("only what is used", async () => (await objects()) === 2);
  await server.stop();
  const doctor = await runRole(["doctor", "--deep"], settings);
  assert.equal(doctor.code, 0, doctor.stdout + doctor.stderr);
});
