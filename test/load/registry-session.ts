// What clients do with a registry, as plain requests: push a blob or an image, pull an image, put a manifest, mount.
// Used for seeding and by the load generator; it decides nothing about rates or counts.
import type { Agent } from "node:http";
import { manifestMediaType } from "./content.ts";
import type { Content, Image } from "./content.ts";
import { createAgent, createAuthorizer, exchange } from "./http-exchange.ts";
import type { Answer, Credentials } from "./http-exchange.ts";

/** Where a registry is and who asks; crosses process borders as it is. */
export interface Endpoint {
  readonly base: string;
  readonly credentials: Credentials | undefined;
}

/** Connections to one registry with the tokens it asks for. */
export interface Session {
  /** Sends a request within a repository (`blobs/...`), or, with an empty repository, under /v2/. */
  request(sent: RepositoryRequest, expected: readonly number[]): Promise<Answer>;
  /** The Authorization header for a repository (all actions) or for the catalog when it is empty, and to pull from another one. */
  authorization(repository: string, from?: string): Promise<string | undefined>;
  close(): void;
}

/** A request within a repository; `target` is a path below it or a whole URL that the registry gave. */
export interface RepositoryRequest {
  readonly method: string;
  readonly repository: string;
  readonly target: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: readonly Buffer[];
  /** False sends the request without a token although the registry would ask for one. */
  readonly authorized?: boolean;
  /** The repository that a mount reads from: the token names it as well. */
  readonly from?: string;
}

/** Opens a session of up to `connections` connections. */
export function openSession(endpoint: Endpoint, connections: number): Session {
  const base = new URL(endpoint.base);
  const agent: Agent = createAgent(base, connections);
  const authorize = createAuthorizer(agent, base, endpoint.credentials);
  const authorization = (repository: string, from?: string): Promise<string | undefined> => {
    const scope = repository === "" ? "registry:catalog:*" : `repository:${repository}:pull,push,delete`;
    return authorize(from === undefined ? scope : `${scope} repository:${from}:pull`);
  };
  return {
    authorization,
    request: async (sent, expected) => {
      const path = /^https?:|^\//.test(sent.target) ? sent.target : pathOf(sent.repository, sent.target);
      const header = sent.authorized === false ? undefined : await authorization(sent.repository, sent.from);
      const headers = header === undefined ? sent.headers : { ...sent.headers, authorization: header };
      const { method, body } = sent;
      const url = new URL(path, base);
      return exchange(agent, { method, url, ...(headers && { headers }), ...(body && { body }) }, expected);
    },
    close: () => agent.destroy(),
  };
}

/** The path of something in a repository, or under /v2/ when the repository is empty. */
export function pathOf(repository: string, target: string): string {
  return repository === "" ? `/v2/${target}` : `/v2/${repository}/${target}`;
}

/** Pushes a blob in one PUT, or with `chunkBytes` in as many PATCH requests and a closing PUT. */
export async function pushBlob(session: Session, repository: string, content: Content, chunkBytes?: number): Promise<void> {
  const begun = await session.request({ method: "POST", repository, target: "blobs/uploads/", headers: {}, body: [] }, [202]);
  let location = locationOf(begun);
  let body: readonly Buffer[] = content.parts;
  if (chunkBytes !== undefined) {
    let from = 0;
    for (const chunk of chunksOf(content.parts, chunkBytes)) {
      const length = chunk.reduce((sum, part) => sum + part.length, 0);
      const headers = {
        "content-type": "application/octet-stream",
        "content-range": `${from}-${from + length - 1}`,
      };
      const taken = await session.request({ method: "PATCH", repository, target: location, headers, body: chunk }, [202]);
      location = locationOf(taken);
      from += length;
    }
    body = [];
  }
  const target = `${location}${location.includes("?") ? "&" : "?"}digest=${encodeURIComponent(content.digest)}`;
  const headers = { "content-type": "application/octet-stream" };
  await session.request({ method: "PUT", repository, target, headers, body }, [201]);
}

/** Puts a manifest under a tag or its digest. */
export async function putManifest(session: Session, repository: string, reference: string, manifest: Content): Promise<void> {
  const headers = { "content-type": manifestMediaType };
  const target = `manifests/${reference}`;
  await session.request({ method: "PUT", repository, target, headers, body: manifest.parts }, [201]);
}

/** Pushes an image as clients do: ask for each blob, push those that are missing, then the manifest by tag. */
export async function pushImage(session: Session, repository: string, tag: string, image: Image): Promise<void> {
  for (const blob of [image.layer, image.config]) {
    const target = `blobs/${blob.digest}`;
    const found = await session.request({ method: "HEAD", repository, target }, [200, 404]);
    if (found.status === 404) await pushBlob(session, repository, blob);
  }
  await putManifest(session, repository, tag, image.manifest);
}

/** Pulls an image as clients do: the manifest by tag, then its config and layer. */
export async function pullImage(session: Session, repository: string, tag: string, image: Image): Promise<void> {
  const headers = { accept: manifestMediaType };
  await session.request({ method: "GET", repository, target: `manifests/${tag}`, headers }, [200]);
  for (const blob of [image.config, image.layer]) {
    const answer = await session.request({ method: "GET", repository, target: `blobs/${blob.digest}` }, [200]);
    if (answer.body.length !== blob.size) throw new Error(`${blob.digest}: ${answer.body.length} bytes came`);
  }
}

/** Gives a repository a blob that another one has: by mounting, or by pushing where the registry does not mount. */
export async function mountBlob(session: Session, repository: string, from: string, content: Content): Promise<void> {
  const query = new URLSearchParams({ mount: content.digest, from });
  const target = `blobs/uploads/?${query.toString()}`;
  const answer = await session.request({ method: "POST", repository, target, body: [], from }, [201, 202]);
  if (answer.status === 202) await pushBlob(session, repository, content);
}

function locationOf(answer: Answer): string {
  const { location } = answer.headers;
  if (location === undefined) throw new Error("an upload was begun without a Location");
  return location;
}

/** Cuts parts into chunks of `size` bytes without copying. */
function chunksOf(parts: readonly Buffer[], size: number): Buffer[][] {
  const chunks: Buffer[][] = [];
  let chunk: Buffer[] = [];
  let room = size;
  for (const part of parts) {
    for (let from = 0; from < part.length;) {
      const piece = part.subarray(from, from + room);
      chunk.push(piece);
      from += piece.length;
      room -= piece.length;
      if (room > 0) continue;
      chunks.push(chunk);
      chunk = [];
      room = size;
    }
  }
  if (chunk.length > 0) chunks.push(chunk);
  return chunks;
}
