// Addresses of registries as people write them, the file of contexts, and passwords that a person types.
import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { describe, it } from "node:test";
import { confirm, readNewPassword, readPassword } from "./ask.ts";
import { contextsFile, originOf, readContexts, withContext, withoutContext, writeContexts } from "./contexts.ts";
import { Misuse, Stopped } from "./misuse.ts";
import { printList } from "./print.ts";
import type { Input, Streams } from "./streams.ts";

describe("addresses of registries", () => {
  for (const [text, origin] of [
    ["registry.example.com", "https://registry.example.com"],
    ["registry.example.com:5000", "https://registry.example.com:5000"],
    ["http://registry.example.com", "http://registry.example.com"],
    ["https://registry.example.com/v1/", "https://registry.example.com"],
    ["localhost:5000", "http://localhost:5000"],
    ["127.0.0.1:5000", "http://127.0.0.1:5000"],
    ["[::1]:5000", "http://[::1]:5000"],
    ["https://127.0.0.1:5000", "https://127.0.0.1:5000"],
    ["localhost.example.com", "https://localhost.example.com"],
    ["127.0.0.1.example.com", "https://127.0.0.1.example.com"],
  ] as const) {
    it(`${text} is ${origin}`, () => assert.equal(originOf(text), origin));
  }
  for (const text of [
    "",
    "registry.example.com/team",
    "ftp://registry.example.com",
    "https://a:b@registry.example.com",
    "http://",
    "a b",
  ]) {
    it(`"${text}" is none`, () => assert.throws(() => originOf(text), Misuse));
  }
});

describe("the file of contexts", () => {
  it("is written whole, read again, and refused where it is damaged", async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "berth-contexts-"));
    t.after(() => rm(folder, { recursive: true, force: true }));
    const env = { XDG_CONFIG_HOME: folder };
    assert.deepEqual(await readContexts(env), { current: null, contexts: {} });
    const one = withContext(await readContexts(env), "one", { registry: "https://one.example.com", user: "a", password: "b" });
    await writeContexts(env, withContext(one, "two", { registry: "https://two.example.com" }));
    const read = await readContexts(env);
    assert.equal(read.current, "two");
    assert.deepEqual(withoutContext(read, "two"), { ...one, current: null });
    assert.deepEqual(await readdir(dirname(contextsFile(env))), ["config.json"]);
    for (const text of [
      "{",
      "null",
      "[]",
      '{"contexts":{"a":{}}}',
      '{"contexts":{"a":null}}',
      '{"contexts":{"a":{"registry":"https://a","user":5}}}',
    ]) {
      await writeFile(contextsFile(env), text);
      await assert.rejects(readContexts(env), Stopped, text);
    }
  });

  it("is below HOME where XDG_CONFIG_HOME is no absolute path", () => {
    assert.equal(contextsFile({ HOME: "/home/ada", XDG_CONFIG_HOME: "relative" }), "/home/ada/.config/berth/config.json");
  });
});

/** A terminal at which a person types. */
function terminal(isTTY = true): { streams: Streams; stdin: PassThrough; shown: () => string } {
  const stdin = new PassThrough();
  const output = new PassThrough();
  let text = "";
  output.on("data", (piece: Buffer) => (text += piece.toString()));
  const stderr = Object.assign(output, { isTTY });
  const input: Input = Object.assign(stdin, { isTTY, setRawMode: () => undefined });
  return { streams: { stdin: input, stdout: output, stderr, env: {}, signal: new AbortController().signal }, stdin, shown: () => text };
}

describe("what a person types", () => {
  it("shows no password, and takes back what backspace takes", async () => {
    const { streams, stdin, shown } = terminal();
    const password = readPassword(streams, "Password: ", false);
    stdin.write("sekrit");
    stdin.write("\u007f\u007fet\r");
    assert.equal(await password, "sekret");
    assert.equal(shown(), "Password: \n");
  });

  it("stops at Ctrl-C, at the end of the input, and where two passwords differ", async () => {
    const { streams, stdin } = terminal();
    const interrupted = readPassword(streams, "", false);
    stdin.write("abc\u0003");
    await assert.rejects(interrupted, Stopped);
    const twice = readNewPassword(streams, "", false);
    stdin.write("one\r");
    setImmediate(() => stdin.write("two\r"));
    await assert.rejects(twice, /differ/);
    const ended = readPassword(streams, "", false);
    stdin.end();
    await assert.rejects(ended, Stopped);
  });

  it("is not waited for where nobody is", async () => {
    await assert.rejects(readPassword(terminal(false).streams, "", false), Misuse);
    await assert.rejects(confirm(terminal(false).streams, "Delete?", false), Stopped);
    await confirm(terminal(false).streams, "Delete?", true);
  });

  it("has to be yes, and the end of the input is no yes", async () => {
    for (const [typed, isYes] of [
      ["yes\n", true],
      ["y\n", false],
      ["\n", false],
      ["", false],
    ] as const) {
      const { streams, stdin } = terminal();
      stdin.end(typed);
      const asked = confirm(streams, "Delete?", false);
      await (isYes ? asked : assert.rejects(asked, Stopped, typed));
    }
  });
});

it("tables: show nothing that would command a terminal, and stay in their lines", async () => {
  const stdout = new PassThrough();
  const streams = { stdout } as unknown as Streams;
  printList(
    streams,
    "table",
    [
      { title: "A", of: "a" },
      { title: "B", of: "b" },
    ],
    [{ a: "\u001b[2Jx\ny", b: null }],
  );
  stdout.end();
  assert.equal(await text(stdout), "A        B\n\uFFFD[2Jx y  -\n");
});
