// Reading streams, however their bytes are split. Not here: real answers (test/flows/api-client.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ConnectionError } from "./errors.ts";
import { readCallError, readEvents, readLines, readRecords } from "./read-answer.ts";

/** The bytes of a text in pieces of a given size. */
async function* cut(text: string, size: number): AsyncGenerator<Uint8Array, void, void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const EVENTS =
  ': here\n\nid: 1\nevent: line\ndata: {"text":"grün"}\n\nevent: line\ndata: {"text":\ndata: "two"}\r\n\nid: 3\ndata:{"text":"three"}\n\nid: 4\ndata: {"text":"not ended"}';

describe("streams of answers", () => {
  it("gives the same wherever the bytes are cut", async () => {
    for (let size = 1; size <= 64; size++) {
      assert.deepEqual(await Array.fromAsync(readEvents(readLines(cut(EVENTS, size)))), [
        { id: "1", data: { text: "grün" } },
        { id: "1", data: { text: "two" } },
        { id: "3", data: { text: "three" } },
      ]);
      const records = readRecords(readLines(cut('{"a":"ü"}\n\n{"a":2}\n3', size)));
      assert.deepEqual(await Array.fromAsync(records), [{ a: "ü" }, { a: 2 }, 3]);
    }
  });

  it("refuses a piece that is no JSON", async () => {
    await assert.rejects(Array.fromAsync(readRecords(readLines(cut('{"a":1}\n{"a"\n', 4)))), ConnectionError);
  });
});

it("errors of answers: those of the API are read, all else is none of Berth's", async () => {
  const body = JSON.stringify({ errors: [{ code: "TOOMANYREQUESTS", message: "slowly", detail: { a: 1 } }] });
  const read = await readCallError(new Response(body, { status: 429, headers: { "retry-after": "7", "x-request-id": "id" } }), "http://r");
  assert.deepEqual(Object.fromEntries(Object.entries(read)), {
    name: "CallError",
    code: "TOOMANYREQUESTS",
    status: 429,
    detail: { a: 1 },
    requestId: "id",
    retryAfterSeconds: 7,
  });
  for (const text of ["", "null", "<html>", "[]", '{"errors":[null]}', '{"errors":"no"}', '{"errors":[{"code":5}]}']) {
    assert.ok((await readCallError(new Response(text, { status: 502 }), "http://r")) instanceof ConnectionError, text);
  }
});
