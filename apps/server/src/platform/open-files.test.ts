// The limit of open files, and the number of connections that follows from it. Not here: a server at its limit
// (test/failure/network-clients.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { connectionsWithin, openFilesLimit, parseOpenFilesLimit } from "./open-files.ts";

it("open files: reads the soft limit", async () => {
  const head = "Limit                     Soft Limit           Hard Limit           Units\n";
  assert.equal(parseOpenFilesLimit(`${head}Max open files            1024                 524288               files\n`), 1024);
  assert.equal(parseOpenFilesLimit(`${head}Max open files            unlimited            unlimited            files\n`), undefined);
  assert.equal(parseOpenFilesLimit(""), undefined);
  const own = await openFilesLimit();
  assert.ok(own === undefined || own > 0);
});

it("open files: leaves a quarter for files, and never less than some", () => {
  assert.equal(connectionsWithin(undefined, 10_000), 10_000);
  assert.equal(connectionsWithin(65_536, 10_000), 10_000);
  assert.equal(connectionsWithin(4_096, 10_000), 3_072);
  assert.equal(connectionsWithin(400, 10_000), 144);
  assert.equal(connectionsWithin(100, 10_000), 1);
});
