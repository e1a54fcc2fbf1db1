// Clients that put, delete and read a few tags concurrently on one or several servers, and record every call and every answer in the order
// in which they saw them. Not here: which answers are right (tag-register.ts), disturbing the servers (tag-histories.test.ts).
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Agent, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import type { Random } from "../../apps/server/src/content/schedule.testing.ts";
import type { Operation } from "./linearizability.ts";
import type { Demand, Named, TagOperation } from "./tag-register.ts";

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
/**
 * A client without an answer gives up after this time: it is shorter than the longest pause of a server, so that some operations take
 * effect later.
 */
const DEADLINE_MS = 1_500;
/** The pause after an answer that says that the server cannot, or after none. */
const REST_MS = 20;

/** No connection was made: the server cannot have received the operation. */
const UNHEARD = Symbol("unheard");

/** An HTTP answer, read whole. */
interface Answer {
  readonly status: number;
  readonly digest: string | undefined;
  readonly body: string;
}

/** Sends requests over kept connections, once: a client library's own retry would be an operation that nobody recorded. */
export function createClient(authorization: string) {
  const agent = new Agent({ keepAlive: true });
  return {
    /** Undefined if no complete answer came; `UNHEARD` if no server can have received the request. */
    ask(
      origin: string,
      method: string,
      path: string,
      { headers = {}, body, deadlineMs = DEADLINE_MS }: { headers?: Record<string, string>; body?: string; deadlineMs?: number } = {},
    ): Promise<Outcome> {
      return new Promise((resolve) => {
        const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
        const sent = request(new URL(path, origin), { agent, method, headers: { authorization, ...length, ...headers } }, (answer) => {
          const pieces: Buffer[] = [];
          answer.on("data", (piece: Buffer) => pieces.push(piece));
          answer.on("error", () => resolve(undefined));
          answer.on("end", () => {
            const digest = answer.headers["docker-content-digest"];
            const text = Buffer.concat(pieces).toString("utf8");
            resolve({ status: answer.statusCode!, digest: typeof digest === "string" ? digest : undefined, body: text });
          });
        });
        sent.on("error", (error: NodeJS.ErrnoException) => resolve(error.code === "ECONNREFUSED" ? UNHEARD : undefined));
        sent.setTimeout(deadlineMs, () => sent.destroy());
        sent.end(body);
      });
    },
    close: () => agent.destroy(),
  };
}

type Outcome = Answer | typeof UNHEARD | undefined;
type Client = ReturnType<typeof createClient>;

/** The place and the means of the clients. */
export interface TagLoadOptions {
  readonly client: Client;
  readonly repository: string;
  /** The manifest of an existing image, of which copies with other annotations are put. */
  readonly manifest: Readonly<Record<string, unknown>>;
  readonly tags: readonly string[];
  readonly random: Random;
  /** A server for the next operation of a client. */
  originOf(client: number): string;
}

/** The clients and their histories. */
export interface TagLoad {
  /** Runs that many clients, each with that many operations. */
  run(clients: number, operations: number): Promise<void>;
  /** Reads every tag on a server, as often as it takes to get an answer. */
  readAll(origin: string): Promise<void>;
  /** What was seen of a tag. */
  historyOf(tag: string): Operation<TagOperation>[];
  /** Operations by kind and answer. */
  readonly counts: ReadonlyMap<string, number>;
}

/** Makes the load. */
export function createTagLoad({ client, repository, manifest, tags, random, originOf }: TagLoadOptions): TagLoad {
  let time = 0;
  let images = 0;
  const seen = new Map<string, Operation<TagOperation>[]>(tags.map((tag) => [tag, []]));
  /** The digest that each tag was last seen to name, for conditions with a chance to hold. */
  const last = new Map<string, string>();
  const counts = new Map<string, number>();

  function note(tag: string, calledAt: number, what: TagOperation, answer: Outcome): void {
    if (answer === UNHEARD) return;
    const answeredAt = what.answer === undefined ? undefined : ++time;
    seen.get(tag)!.push({ what, calledAt, answeredAt });
    const said = typeof what.answer === "object" ? "found" : (what.answer ?? "no answer");
    const kind = `${what.kind}${what.kind !== "read" && what.demand !== undefined ? " on condition" : ""} ${said}`;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }

  const pathOf = (reference: string): string => `/v2/${repository}/manifests/${reference}`;
  const makeImage = (): { text: string; digest: string } => {
    const text = JSON.stringify({ ...manifest, annotations: { copy: String(++images) } });
    return { text, digest: `sha256:${createHash("sha256").update(text).digest("hex")}` };
  };
  /** Whether the answer says what happened: a server error does not. */
  const isFinal = (answer: Outcome, ...statuses: number[]): answer is Answer => {
    if (answer === undefined || answer === UNHEARD || answer.status >= 500) return false;
    assert.ok(statuses.includes(answer.status), `${answer.status}: ${answer.body}`);
    return true;
  };

  async function read(origin: string, tag: string, method: "GET" | "HEAD", deadlineMs?: number): Promise<boolean> {
    const calledAt = ++time;
    const answer = await client.ask(origin, method, pathOf(tag), deadlineMs === undefined ? {} : { deadlineMs });
    // A read without an answer proves nothing.
    if (!isFinal(answer, 200, 404)) return false;
    const found: Named = answer.status === 404 ? null : answer.digest!;
    if (found === null) last.delete(tag);
    else last.set(tag, found);
    if (method === "GET" && found !== null) {
      assert.equal(`sha256:${createHash("sha256").update(answer.body).digest("hex")}`, found, "a manifest's bytes are its digest's");
    }
    note(tag, calledAt, { kind: "read", answer: { found } }, answer);
    return true;
  }

  async function remove(origin: string, tag: string, demand: Demand): Promise<boolean> {
    const calledAt = ++time;
    const answer = await client.ask(origin, "DELETE", pathOf(tag), { headers: headersOf(demand) });
    const isKnown = isFinal(answer, 202, 404, ...(demand === undefined ? [] : [412]));
    note(tag, calledAt, { kind: "delete", demand, answer: isKnown ? saidOfDeletion(answer) : undefined }, answer);
    return isKnown;
  }

  async function put(origin: string, tag: string, demand: Demand): Promise<boolean> {
    const { text, digest } = makeImage();
    const calledAt = ++time;
    const headers = { "content-type": MANIFEST_TYPE, ...headersOf(demand) };
    const answer = await client.ask(origin, "PUT", pathOf(tag), { headers, body: text });
    const isKnown = isFinal(answer, 201, 412);
    const outcome = !isKnown ? undefined : answer.status === 201 ? ("stored" as const) : { found: foundIn(answer.body) };
    note(tag, calledAt, { kind: "put", digest, demand, answer: outcome }, answer);
    if (outcome === "stored") last.set(tag, digest);
    return isKnown;
  }

  /** By digest, with some tags at once. */
  async function putMany(origin: string, some: readonly string[]): Promise<boolean> {
    const { text, digest } = makeImage();
    const calledAt = ++time;
    const query = some.map((tag) => `tag=${tag}`).join("&");
    const answer = await client.ask(origin, "PUT", `${pathOf(digest)}?${query}`, {
      headers: { "content-type": MANIFEST_TYPE },
      body: text,
    });
    const isKnown = isFinal(answer, 201);
    const outcome = isKnown ? "stored" : undefined;
    for (const tag of some) note(tag, calledAt, { kind: "put", digest, demand: undefined, answer: outcome }, answer);
    return isKnown;
  }

  function next(origin: string): Promise<boolean> {
    const tag = tags[random.below(tags.length)]!;
    const choice = random.below(20);
    if (choice < 5) return read(origin, tag, choice % 2 === 0 ? "GET" : "HEAD");
    const known = last.get(tag);
    if (choice < 8 && known !== undefined)
      return remove(origin, tag, { header: choice === 7 ? "if-none-match" : "if-match", digest: known });
    if (choice < 11) return remove(origin, tag, undefined);
    if (choice < 12) return putMany(origin, tags.slice(random.below(tags.length)));
    if (choice < 14) return put(origin, tag, { header: "if-none-match", digest: "*" });
    if (choice < 16 && known !== undefined)
      return put(origin, tag, { header: choice === 14 ? "if-match" : "if-none-match", digest: known });
    if (choice < 17) return put(origin, tag, { header: "if-match", digest: "*" });
    return put(origin, tag, undefined);
  }

  return {
    counts,
    historyOf: (tag) => seen.get(tag)!,
    async run(clients, operations) {
      await Promise.all(
        Array.from({ length: clients }, async (_, each) => {
          for (let i = 0; i < operations; i++) {
            if (await next(originOf(each))) continue;
            // The server may be dead or paused: until it answers, more operations would add nothing.
            while (typeof (await client.ask(originOf(each), "GET", "/healthz")) !== "object") await sleep(REST_MS);
          }
        }),
      );
    },
    async readAll(origin) {
      for (const tag of tags) while (!(await read(origin, tag, "GET", 60_000))) await sleep(REST_MS);
    },
  };
}

function headersOf(demand: Demand): Record<string, string> {
  return demand === undefined ? {} : { [demand.header]: demand.digest === "*" ? "*" : `"${demand.digest}"` };
}

function saidOfDeletion({ status, body }: Answer): "deleted" | "absent" | { readonly found: Named } {
  return status === 202 ? "deleted" : status === 404 ? "absent" : { found: foundIn(body) };
}

/** The digest that a refusal reports for the tag. */
function foundIn(body: string): Named {
  const { errors } = JSON.parse(body) as { errors: { code: string; detail: { current: Named } }[] };
  assert.equal(errors[0]?.code, "PRECONDITION_FAILED", body);
  return errors[0].detail.current;
}
