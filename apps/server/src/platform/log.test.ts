// The log: secrets never reach it, by field name or by shape; of errors it shows causes and nothing else; request ids are harmless and
// unique.
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { batchLines, createLog, createRequestIds, type LogOptions } from "./log.ts";

function capture(options: Partial<LogOptions> = {}) {
  let text = "";
  const { logger } = createLog({ level: "info", format: "json", ...options, stream: { write: (line) => void (text += line) } });
  return { logger, text: () => text };
}

describe("masking", () => {
  it("hides fields that are secrets by name, at any usual depth", () => {
    const { logger, text } = capture();
    const headers = { authorization: "hunter2", cookie: "hunter2", host: "shown" };
    logger.info(
      { req: { headers }, password: "hunter2", auth: [{ secretAccessKey: "hunter2", token: { a: "hunter2" } }], adminPassword: "hunter2" },
      "m",
    );
    assert.ok(!text().includes("hunter2"), text());
    assert.match(text(), /"host":"shown"/);
    assert.equal(headers.authorization, "hunter2", "the caller's object was changed");
  });

  it("hides secrets in texts, addresses and errors", () => {
    const { logger, text } = capture();
    const jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJodW50ZXIyIn0.aHVudGVyMg";
    logger.info("connecting to postgres://berth:hunter2@db/berth with Bearer hunter2hunter2 and Basic aHVudGVyMg==");
    logger.warn({ url: "https://s3/b/k?X-Amz-Algorithm=A&X-Amz-Credential=hunter2&X-Amz-Signature=hunter2&x=shown" }, `got ${jwt}`);
    logger.error({
      err: new Error("GET https://u:hunter2@h/p failed", { cause: new Error("token=hunter2 at http://x/?token=hunter2".slice(17)) }),
    });
    for (const secret of ["hunter2", "aHVudGVyMg", "eyJhbGci"]) assert.ok(!text().includes(secret), text());
    assert.match(text(), /x=shown/);
    assert.match(text(), /X-Amz-Algorithm=A/);
  });

  it("keeps every line valid JSON", () => {
    const { logger, text } = capture();
    logger.info({ url: 'https://h/?token=a"b\\c', note: "Bearer abcdefgh\"'\\" }, "://a:b@c");
    for (const line of text().trim().split("\n")) JSON.parse(line);
  });

  it("leaves names that only resemble secrets", () => {
    const { logger, text } = capture();
    logger.info({ tokenId: "t-1", secretName: "s-1", expiresAt: new Date(0) }, "m");
    assert.match(text(), /"tokenId":"t-1","secretName":"s-1","expiresAt":"1970/);
  });
});

it("log: writes an error's type, message, code, stack and causes, and not what hangs on it", () => {
  const { logger, text } = capture();
  const error = Object.assign(new TypeError("outer", { cause: new Error("inner") }), { code: "E1", request: { body: "private" } });
  logger.error({ err: error }, "failed");
  const { err, level } = JSON.parse(text()) as { level: string; err: Record<string, unknown> & { cause: { message: string } } };
  assert.equal(level, "error");
  assert.deepEqual([err["type"], err["message"], err["code"], err.cause.message], ["TypeError", "outer", "E1", "inner"]);
  assert.ok(!text().includes("private"));
});

it("log: ends with a ring of causes", () => {
  const { logger, text } = capture();
  const error = new Error("ring");
  error.cause = error;
  logger.error({ err: error });
  assert.match(text(), /"ring"/);
});

it("log: keeps to the level, and is readable when pretty", () => {
  const { logger, text } = capture({ level: "warn", format: "pretty" });
  logger.info("hidden");
  logger.warn({ count: 3, err: new Error("broke") }, "shown");
  assert.ok(!text().includes("hidden"));
  // oxlint-disable-next-line no-control-regex -- the escapes are what is taken out
  assert.match(text().replaceAll(/\u001b\[\d+m/g, ""), /^\d\d:\d\d:\d\d\.\d{3} WARN {2}shown count=3\n {2}Error: broke\n/);
});

it("log: makes request ids that differ, and takes only harmless ones from clients", () => {
  const [one, other] = [createRequestIds(), createRequestIds()];
  assert.equal(new Set([one(undefined), one(undefined), other(undefined), other(undefined)]).size, 4);
  assert.equal(one("abc-1.2_3"), "abc-1.2_3");
  for (const bad of ["", "a b", "a\nb", "x".repeat(65), ["a", "b"], '"']) assert.notEqual(one(bad), bad);
});

it("log: writes a line at once, those that follow together and in their order, and what is left when asked", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const written: string[] = [];
  const stream = batchLines({ write: (text) => void written.push(text) });
  stream.write("1\n");
  assert.deepEqual(written, ["1\n"]);
  stream.write("2\n");
  stream.write("3\n");
  assert.deepEqual(written, ["1\n"]);
  stream.flush();
  stream.flush();
  assert.deepEqual(written, ["1\n", "2\n3\n"]);
  stream.write(`${"x".repeat(100_000)}\n`);
  assert.equal(written.length, 3);
});

it("log: writes what a quiet time follows, and then at once again", async () => {
  const written: string[] = [];
  const stream = batchLines({ write: (text) => void written.push(text) });
  for (const line of ["1\n", "2\n", "3\n"]) stream.write(line);
  while (written.length < 2) await sleep(1);
  assert.deepEqual(written, ["1\n", "2\n3\n"]);
  while (written.at(-1) !== "4\n") {
    await sleep(50);
    stream.write("4\n");
  }
});
