// One Berth in a process of its own, as users run it, with accounts of every kind; and direct requests by which tests check what it serves
// for a reference, and how often it did what. Not here: clients (command.ts), content (images.ts).
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { startProgram, temporaryFolder } from "../tools/processes.ts";
import type { Descriptor, Layout } from "./images.ts";
import { digestOf, digestsUnder } from "./content-walk.ts";

/** A user of the registry under test. */
export interface User {
  readonly name: string;
  readonly password: string;
}

/** The accounts of a test: `developer`, `maintainer` and `guest` are members of `library` (public) and of `vault` (private). */
export interface Users {
  readonly admin: User;
  readonly developer: User;
  readonly maintainer: User;
  readonly guest: User;
}

/** One descriptor's content as the registry served it, by digest. */
export interface ServedManifest {
  readonly digest: string;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** A Berth under test, which speaks plain HTTP. */
export interface Berth {
  /** `127.0.0.1:PORT`, the beginning of an image reference. */
  readonly host: string;
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  readonly users: Users;
  /** Asks the control plane as the administrator; `path` follows `/api/v1`. Fails for an answer of 400 and more. */
  api(method: string, path: string, body?: unknown): Promise<unknown>;
  /** A GET or other request of the data plane as the developer, or as `user`; `path` follows `/v2/`. */
  ask(path: string, options?: { readonly method?: string; readonly user?: User | "anonymous" }): Promise<Response>;
  /** Uploads a layout's image and everything under it as the administrator, so that pulls can be tested without another client's push. */
  push(layout: Layout, repository: string, tag: string): Promise<void>;
  /** The manifest that a tag or digest names; its bytes have been checked against the digest that the registry gave. */
  manifest(repository: string, reference: string): Promise<ServedManifest>;
  /**
   * The digests of a manifest and of everything under it, each once and sorted. Every manifest and blob is read and hashed; foreign layers,
   * which no registry holds, are left out.
   */
  contentOf(repository: string, reference: string): Promise<string[]>;
  /** How often the registry has answered with the status since it started; `kind` is one of the label's values at `/metrics`. */
  count(kind: string, status: number): Promise<number>;
  stop(): Promise<void>;
}

const LAUNCHER = join(import.meta.dirname, "../../apps/server/bin/berth-server.mjs");

const MANIFEST_TYPES = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

/** Starts Berth on an empty data directory. `settings` are flags by name, such as `storage.kind`; without any it is SQLite and a directory. */
export async function startBerth(settings: Readonly<Record<string, string>> = {}): Promise<Berth> {
  const folder = await temporaryFolder("berth");
  const users: Users = {
    admin: { name: "admin", password: "admin-client-password" },
    developer: { name: "developer", password: "developer-client-password" },
    maintainer: { name: "maintainer", password: "maintainer-client-password" },
    guest: { name: "guest", password: "guest-client-password" },
  };
  const flags = Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
  let host: string | undefined;
  const program = await startProgram({
    command: process.execPath,
    args: [LAUNCHER, "serve", "--listen", "127.0.0.1:0", "--data", join(folder, "data"), ...flags],
    folder,
    env: { BERTH_ADMIN_PASSWORD: users.admin.password },
    // The kernel chose the port, which is in the log.
    ready: async () => {
      const line = (await readFile(join(folder, "program.log"), "utf8")).split("\n").find((each) => each.includes('"msg":"ready"'));
      if (line === undefined) return false;
      host = new URL((JSON.parse(line) as { address: string }).address).host;
      return true;
    },
  });
  assert.ok(host !== undefined);
  const berth = clientOf(host, users, () => program.stop());
  try {
    await createAccounts(berth);
  } catch (error) {
    await berth.stop();
    throw error;
  }
  return berth;
}

async function createAccounts(berth: Berth): Promise<void> {
  const { developer, maintainer, guest } = berth.users;
  await berth.api("POST", "/projects", { name: "vault", visibility: "private" });
  for (const [role, user] of Object.entries({ developer, maintainer, guest })) {
    await berth.api("POST", "/users", user);
    for (const project of ["library", "vault"]) await berth.api("PUT", `/projects/${project}/members/${user.name}`, { role });
  }
}

function clientOf(host: string, users: Users, stop: () => Promise<void>): Berth {
  const origin = `http://${host}`;
  const send = (
    path: string,
    user: User | "anonymous",
    init: Omit<RequestInit, "headers"> & { readonly headers?: Readonly<Record<string, string>> },
  ) => fetch(new URL(path, origin), { ...init, headers: { ...(user === "anonymous" ? {} : basic(user)), ...init.headers } });
  const read = async (path: string) => {
    const response = await send(path, users.admin, { headers: { accept: MANIFEST_TYPES } });
    if (response.status !== 200) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response;
  };
  const berth: Berth = {
    host,
    origin,
    users,
    async api(method, path, body) {
      const headers = body === undefined ? {} : { "content-type": "application/json" };
      const response = await send(`/api/v1${path}`, users.admin, {
        method,
        headers,
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      if (response.status >= 400) throw new Error(`${method} ${path}: ${response.status} ${text}`);
      return text === "" ? undefined : (JSON.parse(text) as unknown);
    },
    ask: (path, { method = "GET", user = users.developer } = {}) =>
      send(`/v2/${path}`, user, { method, redirect: "manual", headers: { accept: MANIFEST_TYPES } }),
    async push({ folder, root }, repository, tag) {
      const expect = async (response: Response, status: number) => {
        if (response.status !== status) throw new Error(`${response.url}: ${response.status} ${await response.text()}`);
        return response;
      };
      const bytesOf = (digest: string) => readFile(join(folder, "blobs", digest.replace(":", "/")));
      const putManifest = async ({ digest, mediaType }: Descriptor, reference: string) => {
        const bytes = await bytesOf(digest);
        const body = JSON.parse(bytes.toString()) as { manifests?: Descriptor[]; config?: Descriptor; layers?: Descriptor[] };
        for (const child of body.manifests ?? []) await putManifest(child, child.digest);
        for (const blob of [...(body.config === undefined ? [] : [body.config]), ...(body.layers ?? [])]) {
          if (blob.urls !== undefined) continue;
          const path = `/v2/${repository}/blobs/uploads/?digest=${blob.digest}`;
          await expect(await send(path, users.admin, { method: "POST", body: await bytesOf(blob.digest) }), 201);
        }
        const init = { method: "PUT", body: bytes, headers: { "content-type": mediaType } };
        await expect(await send(`/v2/${repository}/manifests/${reference}`, users.admin, init), 201);
      };
      await putManifest(root, tag);
    },
    async manifest(repository, reference) {
      const response = await read(`/v2/${repository}/manifests/${reference}`);
      const bytes = Buffer.from(await response.arrayBuffer());
      const digest = response.headers.get("docker-content-digest") ?? "";
      assert.equal(digestOf(bytes), digest, `${repository} ${reference} is not what its digest says`);
      return { digest, mediaType: response.headers.get("content-type") ?? "", bytes };
    },
    contentOf: async (repository, reference) =>
      digestsUnder((await berth.manifest(repository, reference)).digest, {
        manifest: async (digest) => (await berth.manifest(repository, digest)).bytes,
        blob: async (digest) => (await read(`/v2/${repository}/blobs/${digest}`)).body ?? Readable.from([]),
      }),
    async count(kind, status) {
      const text = await (await read("/metrics")).text();
      const line = text.split("\n").find((each) => each.startsWith(`berth_operations_total{kind="${kind}",status="${status}"}`));
      return line === undefined ? 0 : Number(line.split(" ").at(-1));
    },
    stop,
  };
  return berth;
}

function basic(user: User): Record<string, string> {
  return { authorization: `Basic ${Buffer.from(`${user.name}:${user.password}`).toString("base64")}` };
}
