// Following a job to its end over a connection that breaks: nothing is lost or shown twice, and the exit code says how it ended.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import { it, type TestContext } from "node:test";
import { runBerth } from "../main.ts";

const AT = "2026-01-01T00:00:00.000Z";
const event = (id: number, fields: object): string =>
  `id: ${id}\nevent: x\ndata: ${JSON.stringify({ id: String(id), at: AT, line: null, job: null, ...fields })}\n\n`;
const job = (state: string, error: string | null = null): object => ({ job: { state, error, attempt: 1, progress: null } });

/** A registry that answers each request with the next text, and closes the connection after all but the last. */
async function serve(t: TestContext, answers: readonly string[]): Promise<{ origin: string; resumedAt: (string | undefined)[] }> {
  const resumedAt: (string | undefined)[] = [];
  const server: Server = createServer((request, response) => {
    const answer = answers[resumedAt.length];
    resumedAt.push(request.headers["last-event-id"] as string | undefined);
    response.writeHead(200, { "content-type": "text/event-stream" });
    if (resumedAt.length === answers.length) response.end(answer);
    else response.write(answer, () => setImmediate(() => response.destroy()));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => server.close());
  return { origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, resumedAt };
}

async function follow(origin: string): Promise<{ code: number; out: string; errors: string }> {
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const env = { BERTH_REGISTRY: origin, XDG_CONFIG_HOME: "/nonexistent" };
  const code = await runBerth(["job", "follow", "7"], { stdin, stdout, stderr, env, signal: new AbortController().signal });
  stdout.end();
  stderr.end();
  return { code, out: await text(stdout), errors: await text(stderr) };
}

it("berth job follow: goes on behind the last event where the connection broke, and where the registry stopped", async (t) => {
  const { origin, resumedAt } = await serve(t, [
    event(1, job("running")) + event(2, { line: "one" }) + "id: 3\ndata: {",
    event(3, { line: "two" }),
    event(3, job("succeeded")),
  ]);
  const { code, out } = await follow(origin);
  assert.equal(code, 0);
  assert.deepEqual(resumedAt, [undefined, "2", "3"]);
  assert.deepEqual(
    out
      .trim()
      .split("\n")
      .map((line) => line.replace(/^\S+ \S+ +/, "")),
    ["running", "one", "two", "succeeded"],
  );
});

it("berth job follow: ends with 1 where the job failed, and says why", async (t) => {
  const { origin } = await serve(t, [event(1, job("failed", "the \u001b[31mdisk is full"))]);
  const { code, errors } = await follow(origin);
  assert.equal(code, 1);
  assert.equal(errors, "berth: the job 7 has ended: the \uFFFD[31mdisk is full\n");
});
