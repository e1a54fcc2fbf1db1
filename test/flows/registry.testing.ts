// Starts whole registries inside a test, on SQLite and a directory, or on the given settings; and sends them requests as a client.
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pino from "pino";
import { startRegistry, type RunningRegistry } from "../../apps/server/src/compose.ts";
import type { FeaturePorts } from "../../apps/server/src/compose/ports.ts";
import { loadConfig } from "../../apps/server/src/config-load.ts";

/** The administrator's password in tests. */
export const ADMIN_PASSWORD = "flow-test-password";
const MASTER_KEY = Buffer.alloc(32, 9);

/** A registry under test. */
export interface TestRegistry {
  readonly origin: string;
  /** That of administration, where it has a listener of its own. */
  readonly adminOrigin: string | undefined;
  /** Sends a request with the administrator's Basic credentials, unless headers say otherwise. */
  send(method: string, path: string, options?: SendOptions): Promise<Response>;
  /** Uploads a blob in one PUT; gives its digest. */
  pushBlob(repository: string, bytes: Uint8Array): Promise<string>;
  /** Uploads an image of one layer of random bytes; gives its manifest's digest. */
  pushImage(repository: string, tag: string, layerBytes?: number): Promise<PushedImage>;
  stop(): Promise<void>;
}

/** How a request is sent. */
export interface SendOptions {
  readonly headers?: Record<string, string>;
  readonly body?: Uint8Array | string | ReadableStream;
  /** Send no credentials. */
  readonly anonymous?: boolean;
}

/** What `pushImage` made. */
export interface PushedImage {
  readonly digest: string;
  readonly manifest: string;
  readonly layer: Uint8Array;
  readonly layerDigest: string;
  readonly configDigest: string;
}

/** The sha256 digest of bytes. */
export function sha256(bytes: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A folder that is removed with `end`. */
export async function temporaryFolder(): Promise<{ readonly path: string; end(): Promise<void> }> {
  const path = await mkdtemp(join(tmpdir(), "berth-flow-"));
  return { path, end: () => rm(path, { recursive: true, force: true }) };
}

/**
 * Starts a registry in this process. `settings` are flags by name, such as `gc.leaseSeconds`; `data` defaults to a new folder. `onLog`:
 * gets every line of its log. `jobs`: it does the background work as well. `ports`: the implementations of ports.
 */
export async function startTestRegistry(
  settings: Readonly<Record<string, string>> = {},
  { jobs = false, onLog, ports }: { readonly jobs?: boolean; readonly onLog?: (line: string) => void; readonly ports?: FeaturePorts } = {},
): Promise<TestRegistry> {
  const folder = settings["data"] === undefined ? await temporaryFolder() : undefined;
  const all = { data: folder?.path ?? settings["data"]!, "http.listen": "127.0.0.1:0", "auth.adminPassword": ADMIN_PASSWORD, ...settings };
  const loaded = await loadConfig({
    flags: Object.entries(all).map(([name, value]) => ({ name, value })),
    environment: {},
    directory: all.data,
  });
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems));
  const logger =
    onLog === undefined ? pino({ level: process.env["BERTH_TEST_LOG"] ?? "fatal" }) : pino({ level: "info" }, { write: onLog });
  const running = await startRegistry({ config: loaded.config, logger, masterKey: MASTER_KEY }, { jobs, ...(ports && { ports }) });
  return clientOf(running, async () => folder?.end());
}

function clientOf(running: RunningRegistry, end: () => Promise<void>): TestRegistry {
  const origin = `http://127.0.0.1:${running.port}`;
  const basic = `Basic ${Buffer.from(`admin:${ADMIN_PASSWORD}`).toString("base64")}`;
  const registry: TestRegistry = {
    origin,
    adminOrigin: running.adminPort === undefined ? undefined : `http://127.0.0.1:${running.adminPort}`,
    send: (method, path, { headers = {}, body, anonymous = false } = {}) =>
      fetch(new URL(path, origin), {
        method,
        redirect: "manual",
        headers: { ...(anonymous ? {} : { authorization: basic }), ...headers },
        ...(body === undefined ? {} : { body: body as NonNullable<RequestInit["body"]>, duplex: "half" }),
      }),
    async pushBlob(repository, bytes) {
      const digest = sha256(bytes);
      const begun = await registry.send("POST", `/v2/${repository}/blobs/uploads/`);
      const location = await expectStatus(begun, 202);
      const put = await registry.send("PUT", `${location.headers.get("location")}?digest=${digest}`, { body: bytes });
      await expectStatus(put, 201);
      return digest;
    },
    async pushImage(repository, tag, layerBytes = 100_000) {
      const layer = randomBytes(layerBytes);
      const layerDigest = await registry.pushBlob(repository, layer);
      const config = JSON.stringify({ architecture: "amd64", os: "linux", rootfs: { type: "layers", diff_ids: [layerDigest] } });
      const configDigest = await registry.pushBlob(repository, Buffer.from(config));
      const manifest = JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: configDigest, size: config.length },
        layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar", digest: layerDigest, size: layer.length }],
      });
      const put = await registry.send("PUT", `/v2/${repository}/manifests/${tag}`, {
        body: manifest,
        headers: { "content-type": "application/vnd.oci.image.manifest.v1+json" },
      });
      await expectStatus(put, 201);
      return { digest: sha256(manifest), manifest, layer, layerDigest, configDigest };
    },
    async stop() {
      await running.stop();
      await end();
    },
  };
  return registry;
}

/** The answer itself if it has the status; otherwise an error that shows it. */
export async function expectStatus(response: Response, status: number): Promise<Response> {
  if (response.status !== status) throw new Error(`expected ${status}, got ${response.status}: ${await response.text()}`);
  return response;
}
