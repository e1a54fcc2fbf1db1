// Many concurrent uploads to S3 take no more memory than allowed, and all of them finish. Not here: the order in which memory is granted
// (content/blobs/upload-memory.test.ts), an S3 that fails (test/replicas).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { cephSettings } from "../clients/storage.ts";
import { sha256 } from "../replicas/push-load.ts";
import { skipOrThrow } from "../tools/install.ts";
import { temporaryFolder } from "../tools/processes.ts";
import { startVersitygw, type S3Server } from "../tools/servers.ts";
import { PASSWORD, startServer } from "./server-process.ts";

const MIB = 1024 * 1024;
const UPLOADS = 80;
const SIZE_BYTES = 7 * MIB;
const MEMORY_BYTES = 32 * MIB;

it("uploads to S3 share the memory that they may take, and all end", async (t) => {
  let s3: S3Server;
  try {
    s3 = await startVersitygw();
  } catch (error) {
    skipOrThrow(t, error);
    return;
  }
  t.after(() => s3.stop());
  const folder = await temporaryFolder("uploads");
  const server = await startServer({
    settings: {
      ...cephSettings(s3.target),
      data: join(folder, "berth"),
      "storage.s3.uploadMemoryBytes": String(MEMORY_BYTES),
      "limits.concurrentUploads": "500",
    },
  });
  t.after(() => server.kill());
  t.after(() => rm(folder, { recursive: true, force: true }));
  const residentBytes = async (): Promise<number> =>
    Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${server.pid}/status`, "utf8"))?.[1]) * 1024;
  const bytes = randomBytes(SIZE_BYTES);
  const digest = sha256(bytes);
  const headers = {
    authorization: `Basic ${Buffer.from(`admin:${PASSWORD}`).toString("base64")}`,
    "content-type": "application/octet-stream",
  };
  let refused = 0;
  const upload = async (): Promise<number> => {
    for (;;) {
      const path = `${server.origin}/v2/library/many/blobs/uploads/?digest=${digest}`;
      const answer = await fetch(path, { method: "POST", headers, body: bytes });
      await answer.text();
      if (answer.status !== 503) return answer.status;
      // On a busy machine an upload may wait too long for its share of the memory, and retries when it was told to.
      refused++;
      await sleep(Number(answer.headers.get("retry-after")) * 1000);
    }
  };
  assert.equal(await upload(), 201);
  const before = await residentBytes();
  let [grown, isOver] = [0, false];
  const watching = (async () => {
    while (!isOver) {
      grown = Math.max(grown, (await residentBytes()) - before);
      await new Promise((resolve) => void setTimeout(resolve, 50));
    }
  })();
  const statuses = await Promise.all(Array.from({ length: UPLOADS }, upload)).finally(() => {
    isOver = true;
  });
  await watching;
  assert.deepEqual(
    statuses.filter((status) => status !== 201),
    [],
  );
  t.diagnostic(`${UPLOADS} uploads of ${SIZE_BYTES / MIB} MiB at a time: ${Math.round(grown / MIB)} MiB more, ${refused} tried again`);
  // Beside the shared memory each connection has a piece or two on its way. Together they would hold 640 MiB.
  assert.ok(grown < 300 * MIB, `${grown} bytes`);
});
