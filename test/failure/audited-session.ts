// A client that checks every answer (answers.ts), and the server's log: each server error is logged under the request's id, with a cause.
// Not here: the requests.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { digestOf as sha256 } from "@berth/oci/digest";
import { judgeAnswer } from "./answers.ts";
import { PASSWORD, type ServerOptions, type ServerProcess, startServer } from "./server-process.ts";

const MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json";
/** The log is written after the answers, on a busy machine seconds later. Only a missing line waits for this long. */
const LOGGED_WITHIN_MS = 120_000;
/** Far more than anything here takes: only a hanging server waits for this long. */
const TRUE_WITHIN_MS = 300_000;

/** An answer, read to its end. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly bytes: Buffer;
  /** The error's code, or undefined where it is no error, or an answer to HEAD. */
  readonly code: string | undefined;
  readonly text: string;
}

/** What a request may have besides. */
export interface SendOptions {
  readonly body?: Uint8Array | string | undefined;
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** An image of one config and one layer. */
export interface SmallImage {
  readonly repository: string;
  readonly tag: string;
  readonly manifest: string;
  readonly digest: string;
  readonly config: Buffer;
  readonly layer: Buffer;
}

/** A server's readiness. */
export interface Readiness {
  /** Of HTTP. */
  readonly status: number;
  readonly state: string;
  /** By part: `database`, `store`. */
  readonly checks: Readonly<Record<string, string>>;
}

/** A server with checks of its answers. */
export interface AuditedServer extends ServerProcess {
  /** Sends a request as the administrator. Rejects if the connection breaks. */
  send(method: string, path: string, options?: SendOptions): Promise<Answer>;
  readiness(): Promise<Readiness>;
  /** Sends until an answer satisfies. */
  until(what: string, ask: () => Promise<boolean>): Promise<void>;
  /** Fails unless every answer so far with a status of 500 or more is in the log, with a cause. Returns their number. */
  audit(): Promise<number>;
  /** Uploads a blob in a session; gives the first answer that is an error, else the last. */
  pushBlob(repository: string, bytes: Uint8Array): Promise<Answer>;
  putManifest(image: SmallImage): Promise<Answer>;
  /** Pushes blobs and manifest, which must all succeed. */
  push(image: SmallImage): Promise<void>;
  /** Reads manifest and blobs, which must be right to the last byte. */
  pull(image: SmallImage): Promise<void>;
  metric(name: string): Promise<number>;
}

/** Makes an image, its layer of that size. */
export function makeImage(repository: string, tag: string, layerBytes: number, configBytes = 300): SmallImage {
  const config = randomBytes(configBytes);
  const layer = randomBytes(layerBytes);
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: sha256(config), size: config.length },
    layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: sha256(layer), size: layer.length }],
  });
  return { repository, tag, manifest, digest: sha256(Buffer.from(manifest)), config, layer };
}

/** Starts a server whose answers are checked. */
export async function startAudited(options: ServerOptions): Promise<AuditedServer> {
  const server = await startServer(options);
  const authorization = `Basic ${Buffer.from(`admin:${PASSWORD}`).toString("base64")}`;
  const faults = new Map<string, string>();

  async function send(method: string, path: string, { body, type, headers = {} }: SendOptions = {}): Promise<Answer> {
    const response = await fetch(new URL(path, server.origin), {
      method,
      headers: { authorization, ...(type === undefined ? {} : { "content-type": type }), ...headers },
      ...(body === undefined ? {} : { body: body as string }),
    });
    const bytes = Buffer.from(await response.arrayBuffer());
    const { status } = response;
    const what = `${method} ${path} answered ${status} ${bytes.subarray(0, 500).toString()}`;
    const code = judgeAnswer(method, response, status >= 400 ? bytes.toString() : "");
    const id = response.headers.get("x-request-id");
    // Probes say themselves what is wrong.
    if (status >= 500 && path !== "/readyz") faults.set(id!, what);
    return { status, headers: response.headers, bytes, code, text: what };
  }

  /** Request ids that the log explains. */
  function explained(): Set<string> {
    const found = new Set<string>();
    for (const line of server.log) {
      if (!line.includes('"requestId"')) continue;
      const { requestId, err } = JSON.parse(line) as { requestId: string; err?: { cause?: unknown } };
      if (err?.cause !== undefined) found.add(requestId);
    }
    return found;
  }

  async function readiness(): Promise<Readiness> {
    const { status, bytes } = await send("GET", "/readyz");
    const { status: state, checks } = JSON.parse(bytes.toString()) as { status: string; checks: Readonly<Record<string, string>> };
    return { status, state, checks };
  }

  async function until(what: string, ask: () => Promise<boolean>): Promise<void> {
    const giveUpAt = performance.now() + TRUE_WITHIN_MS;
    while (!(await ask())) {
      if (performance.now() > giveUpAt) assert.fail(`${what} did not come true in ${TRUE_WITHIN_MS / 1000} s`);
      await sleep(50);
    }
  }

  async function pushBlob(repository: string, bytes: Uint8Array): Promise<Answer> {
    const begun = await send("POST", `/v2/${repository}/blobs/uploads/`);
    if (begun.status !== 202) return begun;
    return send("PUT", `${begun.headers.get("location")}?digest=${sha256(bytes)}`, { body: bytes, type: "application/octet-stream" });
  }

  const putManifest = ({ repository, tag, manifest }: SmallImage): Promise<Answer> =>
    send("PUT", `/v2/${repository}/manifests/${tag}`, { body: manifest, type: MANIFEST_TYPE });

  return {
    ...server,
    send,
    readiness,
    until,
    pushBlob,
    putManifest,
    async audit() {
      const deadline = performance.now() + LOGGED_WITHIN_MS;
      for (;;) {
        const known = explained();
        const unexplained = [...faults].filter(([id]) => !known.has(id));
        if (unexplained.length === 0) return faults.size;
        if (performance.now() > deadline)
          assert.fail(`not in the log with a cause:\n${unexplained.map(([id, what]) => `${id}: ${what}`).join("\n")}`);
        await sleep(50);
      }
    },
    async push(image) {
      // The large one first: the lease of the small one after it is still valid when the manifest comes.
      for (const bytes of [image.layer, image.config]) {
        const answer = await pushBlob(image.repository, bytes);
        assert.equal(answer.status, 201, answer.text);
      }
      const answer = await putManifest(image);
      assert.equal(answer.status, 201, answer.text);
    },
    async pull(image) {
      const manifest = await send("GET", `/v2/${image.repository}/manifests/${image.digest}`);
      assert.equal(manifest.status, 200, manifest.text);
      assert.equal(manifest.bytes.toString(), image.manifest);
      for (const bytes of [image.config, image.layer]) {
        const blob = await send("GET", `/v2/${image.repository}/blobs/${sha256(bytes)}`);
        assert.equal(blob.status, 200, String(blob.code));
        assert.ok(blob.bytes.equals(bytes), `${sha256(bytes)} came back differently`);
      }
    },
    async metric(name) {
      const page = (await send("GET", "/metrics")).bytes.toString();
      const line = page.split("\n").find((each) => each.startsWith(`${name} `) || each.startsWith(`${name}{`));
      return line === undefined ? NaN : Number(line.slice(line.lastIndexOf(" ") + 1));
    },
  };
}
