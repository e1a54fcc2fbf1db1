// Streams of items: their forms, the choice between them, and how they end. Not here: exports through the API (answers.test.ts).
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, get, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { it, type TestContext } from "node:test";
import { closed } from "@berth/api/fields";
import Type from "typebox";
import { chooseStreamType, sendStream, type StreamAnswer } from "./stream-answer.ts";

const Item = closed({ id: Type.String(), kind: Type.String(), size: closed({ bytes: Type.Integer() }), note: Type.String() });
const itemOf = (id: string, note = "") => ({ id, kind: "pushed", size: { bytes: 7 }, note });

async function serve(t: TestContext, answer: (response: ServerResponse) => Promise<void>): Promise<string> {
  const server = createServer((_, response) => void answer(response).catch(() => response.destroy()));
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const send = (response: ServerResponse, type: string, answer: Pick<StreamAnswer, "kind" | "items">): Promise<void> =>
  sendStream(response, type, { item: Item, status: 200, ...answer }, { stallMs: 5_000 });

async function* failsAtOnce() {
  yield await Promise.reject<object>(new Error("nothing to follow"));
}

it("stream answers: are JSON Lines, or CSV with a column for each plain field, in which no text is a formula", async (t) => {
  async function* items() {
    yield itemOf("1", 'says "yes", twice');
    yield itemOf("2", "=cmd()");
  }
  for (const [type, expected] of [
    ["application/jsonl", `${JSON.stringify(itemOf("1", 'says "yes", twice'))}\n${JSON.stringify(itemOf("2", "=cmd()"))}\n`],
    ["text/csv", 'id,kind,size.bytes,note\r\n1,pushed,7,"says ""yes"", twice"\r\n2,pushed,7,\'=cmd()\r\n'],
  ] as const) {
    const response = await fetch(await serve(t, (answer) => send(answer, type, { kind: "records", items: items() })));
    assert.ok(response.headers.get("content-type")!.startsWith(type));
    assert.equal(await response.text(), expected);
  }
});

it("stream answers: tell what a spreadsheet takes for a formula apart in CSV, however it begins", async (t) => {
  const texts = ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"].map((mark) => `${mark}1+1`);
  async function* items() {
    for (const text of texts) yield itemOf("1", text);
    yield itemOf("2", "1=1");
  }
  const response = await fetch(await serve(t, (answer) => send(answer, "text/csv", { kind: "records", items: items() })));
  const table = await response.text();
  for (const text of texts) assert.ok(table.includes(/[\r\n]/.test(text) ? `,"'${text}"\r\n` : `,'${text}\r\n`), JSON.stringify(text));
  assert.ok(table.endsWith(",1=1\r\n"));
});

it("stream answers: are begun before the first event comes, and each event is sent at once with its id", async (t) => {
  const gate = Promise.withResolvers<void>();
  async function* items() {
    yield itemOf("9", "two\nlines");
    await gate.promise;
    yield itemOf("10");
  }
  const response = await fetch(await serve(t, (answer) => send(answer, "text/event-stream", { kind: "events", items: items() })));
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  assert.equal((await reader.read()).value, `id: 9\nevent: pushed\ndata: ${JSON.stringify(itemOf("9", "two\nlines"))}\n\n`);
  gate.resolve();
  assert.match((await reader.read()).value!, /^id: 10\n/);
  assert.equal((await reader.read()).done, true);
});

it("stream answers: have a head of their own that ends at once, however long the stream is, and gives back what it holds", async (t) => {
  for (const kind of ["events", "records"] as const) {
    const left = Promise.withResolvers<void>();
    async function* items() {
      try {
        for (let i = 0; ; i++) yield itemOf(String(i));
      } finally {
        left.resolve();
      }
    }
    const origin = await serve(t, (answer) => send(answer, "text/event-stream", { kind, items: items() }));
    const response = await fetch(origin, { method: "HEAD" });
    assert.deepEqual([response.status, await response.text()], [200, ""]);
    await left.promise;
  }
  const refused = await serve(t, (answer) =>
    send(answer, "text/event-stream", { kind: "events", items: failsAtOnce() }).catch(() => void answer.writeHead(404).end()),
  );
  assert.equal((await fetch(refused, { method: "HEAD" })).status, 404);
});

it("stream answers: say that somebody is still there seldom, not behind each event", async (t) => {
  const gate = Promise.withResolvers<void>();
  async function* items() {
    yield itemOf("1");
    await gate.promise;
    yield itemOf("2");
  }
  const origin = await serve(t, (answer) => send(answer, "text/event-stream", { kind: "events", items: items() }));
  // Only what the module waits for: connections have timers of their own.
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const [answer] = (await once(get(origin, { agent: false }), "response")) as [IncomingMessage];
  let text = "";
  for await (const piece of answer.setEncoding("utf8")) {
    if (text === "") {
      t.mock.timers.tick(14_000);
      gate.resolve();
    }
    text += piece;
  }
  assert.deepEqual(
    text.split("\n\n").map((event) => event.split("\n")[0]),
    ["id: 1", "id: 2", ""],
  );
});

it("stream answers: break off where an item fails after the first, so that nobody takes a part for the whole, and are an error where the first does", async (t) => {
  const failing = (after: number) =>
    (async function* () {
      for (let i = 0; i < after; i++) yield itemOf(String(i), "x".repeat(20_000));
      throw new Error("the database is away");
    })();
  const broken = await fetch(await serve(t, (answer) => send(answer, "application/jsonl", { kind: "records", items: failing(2) })));
  assert.equal(broken.status, 200);
  await assert.rejects(broken.text());
  const refused = await serve(t, async (answer) => {
    await send(answer, "application/jsonl", { kind: "records", items: failing(0) }).catch(() => {
      assert.equal(answer.headersSent, false);
      answer.writeHead(503).end();
    });
  });
  assert.equal((await fetch(refused)).status, 503);
});

it("stream answers: give back what their items hold when the client leaves", async (t) => {
  const ended = Promise.withResolvers<void>();
  async function* items() {
    try {
      for (let i = 0; ; i++) yield itemOf(String(i), "x".repeat(20_000));
    } finally {
      ended.resolve();
    }
  }
  const response = await fetch(await serve(t, (answer) => send(answer, "application/jsonl", { kind: "records", items: items() })));
  await response.body!.cancel();
  await ended.promise;
});

it("stream answers: have the media type that the client wants most of those that there are", () => {
  const choose = (accept: string | undefined, kind: "records" | "events" = "records") =>
    chooseStreamType({ headers: accept === undefined ? {} : { accept } } as IncomingMessage, kind);
  assert.equal(choose(undefined), "application/jsonl");
  assert.equal(choose("*/*"), "application/jsonl");
  assert.equal(choose("text/csv"), "text/csv");
  assert.equal(choose("application/jsonl;q=0.5, text/*"), "text/csv");
  assert.equal(choose("text/csv;q=0, */*;q=0.1"), "application/jsonl");
  assert.equal(choose("text/event-stream", "events"), "text/event-stream");
  for (const accept of ["application/xml", "text/csv;q=0", "text/csv;q=nonsense", ""])
    assert.throws(() => choose(accept), { code: "NOT_ACCEPTABLE", status: 406 });
});
