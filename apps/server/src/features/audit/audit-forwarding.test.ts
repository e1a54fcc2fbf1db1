// Sending the audit log on: what a syslog server, a file and an endpoint get, that all of it comes in order, and what happens when they take nothing.
// Not here: processes that are killed (test/failure/audit-killed.test.ts).
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFile, mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { after, afterEach, before, it } from "node:test";
import { createTestClock } from "../../access/access.testing.ts";
import type { Database } from "../../platform/database/database.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { listen, serve } from "../../platform/outbound.testing.ts";
import { createOutbound } from "../../platform/outbound.ts";
import { type AuditTarget, findLag, forwardSome } from "./audit-forwarding.ts";
import { moveForwarded, findForwarded } from "./audit-forward-store.ts";
import { listRecordsAfter } from "./audit-list-store.ts";
import { jsonLine } from "./audit-lines.ts";
import { fileTarget, httpTarget, syslogTarget } from "./audit-targets.ts";
import { putRecords } from "./audit.testing.ts";

/** Takes framed messages apart. Source: RFC 6587, section 3.4.1. */
function unframe(bytes: Buffer): string[] {
  const messages: string[] = [];
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const end = space + 1 + Number(bytes.toString("ascii", at, space));
    messages.push(bytes.toString("utf8", space + 1, end));
    at = end;
  }
  return messages;
}

forEachDatabase("forwarding of the audit log", (create) => {
  let test: TestDatabase;
  let database: Database;
  let folder: string;
  const clock = createTestClock();
  const { signal } = new AbortController();
  before(async () => {
    test = await create();
    ({ database } = test);
    folder = await mkdtemp(join(tmpdir(), "berth-audit-"));
  });
  after(async () => {
    await test.end();
    await rm(folder, { recursive: true });
  });
  afterEach(() => database.script("delete from audit_record; delete from audit_segment; delete from audit_key; delete from audit_forward"));

  const send = (target: AuditTarget): Promise<boolean> => forwardSome({ database, clock }, target, signal);
  const lines = async (): Promise<string[]> => (await listRecordsAfter(database, 0, 10_000)).map(jsonLine);

  it("to a syslog server: framed messages of RFC 5424 with the record as JSON, and none passed over when it takes nothing", async (t) => {
    let isTaking = false;
    const received: Buffer[] = [];
    const port = await listen(
      t,
      createServer({ allowHalfOpen: true }, (socket: Socket) => {
        socket.on("error", () => undefined);
        if (!isTaking) return void socket.resetAndDestroy();
        socket.on("data", (piece) => received.push(Buffer.from(piece)));
        socket.on("end", () => socket.end());
      }),
    );
    const target = syslogTarget(new URL(`tcp://127.0.0.1:${port}`), { ca: undefined, host: "höst 1" });
    await putRecords(database, 3, undefined, { digest: `sha256:${"b".repeat(64)}`, note: "ä 🦭 ] \n <1>" });
    await assert.rejects(send(target));
    assert.equal((await findLag(database, clock, "syslog")).records, 3);
    isTaking = true;
    assert.equal(await send(target), false);
    assert.equal((await findLag(database, clock, "syslog")).records, 0);
    const messages = unframe(Buffer.concat(received));
    assert.deepEqual(
      messages.map((message) => message.slice(message.indexOf("] {") + 2)),
      await lines(),
    );
    assert.match(
      messages[1]!,
      /^<110>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z hst1 berth - tag\.moved \[meta sequenceId="2"\] \{"id":"2",/,
    );
  });

  const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
  it(
    "to a syslog server by TLS: whose certificate is believed, and to no other",
    { skip: hasOpenssl ? false : "cannot run here: openssl is not installed" },
    async (t) => {
      const file = (name: string): string => join(folder, `${database.dialect}-${name}`);
      const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", file("tls.key")];
      const subject = ["-subj", "/CN=logs", "-addext", "subjectAltName=IP:127.0.0.1"];
      assert.equal(spawnSync("openssl", ["req", "-x509", ...key, "-out", file("tls.crt"), ...subject]).status, 0);
      const [cert, privateKey] = await Promise.all([readFile(file("tls.crt"), "utf8"), readFile(file("tls.key"), "utf8")]);
      const received: Buffer[] = [];
      const server = createTlsServer({ cert, key: privateKey }, (socket) => {
        socket.on("error", () => undefined);
        socket.on("data", (piece) => received.push(Buffer.from(piece)));
        socket.on("end", () => socket.end());
      });
      server.on("tlsClientError", () => undefined);
      const port = await listen(t, server);
      await putRecords(database, 2);
      const address = new URL(`tls://127.0.0.1:${port}`);
      await assert.rejects(send(syslogTarget(address, { ca: undefined, host: "here" })), /self-signed certificate/);
      assert.equal(await findForwarded(database, "syslog"), 0);
      await send(syslogTarget(address, { ca: [cert], host: "here" }));
      assert.equal(unframe(Buffer.concat(received)).length, 2);
    },
  );

  it("to a file: each record is one line, also behind a line that was torn, and in a file that was moved away", async () => {
    const path = join(folder, `${test.database.dialect}.jsonl`);
    await putRecords(database, 2);
    await send(fileTarget(path));
    await appendFile(path, '{"id":"3","at":"20');
    await putRecords(database, 2);
    await send(fileTarget(path));
    assert.deepEqual((await readFile(path, "utf8")).trimEnd().split("\n"), await lines());
    await rm(path);
    await putRecords(database, 1);
    await send(fileTarget(path));
    assert.deepEqual((await readFile(path, "utf8")).trimEnd().split("\n"), (await lines()).slice(4));
  });

  it("to an endpoint: lines by POST, sent again until it says that it has them", async (t) => {
    const bodies: string[] = [];
    const statuses = [503, 302, 200];
    const port = await serve(t, async (request, response) => {
      let body = "";
      for await (const piece of request.setEncoding("utf8")) body += piece as string;
      bodies.push(`${request.method} ${request.headers["content-type"]} ${request.headers.authorization}\n${body}`);
      response.writeHead(statuses[bodies.length - 1]!, { location: "/elsewhere" }).end();
    });
    const outbound = createOutbound({ purposes: ["audit"] });
    t.after(() => outbound.close());
    const target = httpTarget(`http://127.0.0.1:${port}/`, { fetch: outbound.for("audit"), authorization: "Bearer x" });
    await putRecords(database, 3);
    await assert.rejects(send(target), /answered 503/);
    await assert.rejects(send(target), /answered 302/);
    assert.equal(await send(target), false);
    const wanted = `POST application/x-ndjson Bearer x\n${(await lines()).join("\n")}\n`;
    assert.deepEqual(bodies, [wanted, wanted, wanted]);
  });

  it("goes on where the row says, in batches, and never back", async () => {
    await putRecords(database, 501);
    const sent: number[] = [];
    const target: AuditTarget = { name: "http", send: async (records) => void sent.push(...records.map(({ id }) => id)) };
    assert.equal(await send(target), true);
    assert.equal(await send(target), false);
    assert.deepEqual(
      sent,
      Array.from({ length: 501 }, (_, at) => at + 1),
    );
    await database.transaction((tx) => moveForwarded(tx, "http", 7, clock.now()));
    assert.equal(await findForwarded(database, "http"), 501);
  });
});
