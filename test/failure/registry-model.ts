// A model of what a registry must hold: every change that clients requested and whether it was acknowledged, and the comparison with the
// content after a crash. A change without an answer has happened completely or not at all. Not here: the clients (registry-load.ts), the
// crash.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { judgeAnswer } from "./answers.ts";
import { PASSWORD } from "./server-process.ts";
import type { Stored } from "./stored.ts";

/** An image of a client; only that client changes it and its tags, so that the order of changes is known. */
export interface Image {
  readonly owner: number;
  readonly repository: string;
  readonly digest: string;
  readonly manifest: string;
  readonly blobs: readonly string[];
}

/** A change of a repository by one request: it happens completely or not at all. */
export interface Change {
  readonly image: Image;
  /** Whether the image exists afterwards. */
  readonly isThere: boolean;
  readonly tags: readonly string[];
  /** What the tags name afterwards; undefined: they are deleted. */
  readonly digest: string | undefined;
}

/** What was acknowledged, and what is in doubt. */
export interface RegistryModel {
  /** The bytes of all blobs from which images may be made, by digest. */
  readonly blobs: Map<string, Uint8Array>;
  /** Changes that were acknowledged. */
  readonly acknowledged: number;
  imagesOf(owner: number, repository: string): Image[];
  tagOf(repository: string, tag: string): string | undefined;
  /** The tags that name an image. */
  tagsOf(image: Image): string[];
  /** Records a change before it is requested. A client has one at a time. */
  begin(client: number, change: Change): void;
  /** The change was acknowledged. */
  done(client: number): void;
  /** The change was refused. */
  refused(client: number): void;
  /** Records that a blob may be in a repository, completely or not at all. */
  mayHave(repository: string, digest: string): void;
  /** Compares everything. With `learns` false the outcome of changes in doubt is not remembered: for several comparisons after one crash. */
  check(
    origin: string,
    stored: Stored,
    options?: { readonly learns?: boolean },
  ): Promise<{ readonly images: number; readonly blobs: number }>;
}

interface Tag {
  readonly current: string | undefined;
  readonly history: readonly (string | undefined)[];
}

interface State {
  readonly images: Map<string, { readonly image: Image; readonly isThere: boolean }>;
  readonly tags: Map<string, Tag>;
}

/** Deleted images that are still checked. */
const MAX_GONE = 60;
/** Unused blobs that are kept for later images. */
const MAX_FREE_BLOBS = 40;

const authorization = `Basic ${Buffer.from(`admin:${PASSWORD}`).toString("base64")}`;

/** A digest of bytes. */
export function sha256(bytes: Uint8Array | string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Sends a request as the administrator; fails for an answer that is not as documented. */
export async function send(
  origin: string,
  method: string,
  path: string,
  options: { body?: Uint8Array | string; type?: string; signal?: AbortSignal } = {},
): Promise<Response> {
  const answer = await fetch(new URL(path, origin), {
    method,
    headers: { authorization, ...(options.type === undefined ? {} : { "content-type": options.type }) },
    ...(options.body === undefined ? {} : { body: options.body as string }),
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  judgeAnswer(method, answer, answer.status < 400 || method === "HEAD" ? "" : await answer.clone().text());
  return answer;
}

/** Reads an image with all its blobs; false if it does not exist. Fails if only a part of it exists. */
export async function isWhole(origin: string, image: Image, signal?: AbortSignal): Promise<boolean> {
  const { repository, digest, manifest } = image;
  const more = signal === undefined ? {} : { signal };
  const answer = await send(origin, "GET", `/v2/${repository}/manifests/${digest}`, more);
  const text = await answer.text();
  if (answer.status === 404) return false;
  assert.equal(answer.status, 200, text);
  assert.equal(text, manifest);
  for (const blob of image.blobs) assert.ok(await isBlobThere(origin, repository, blob, signal), `${nameOf(image)} lacks ${blob}`);
  return true;
}

async function isBlobThere(origin: string, repository: string, digest: string, signal?: AbortSignal): Promise<boolean> {
  const answer = await send(origin, "GET", `/v2/${repository}/blobs/${digest}`, signal === undefined ? {} : { signal });
  const bytes = Buffer.from(await answer.arrayBuffer());
  if (answer.status === 404) return false;
  assert.equal(answer.status, 200, `${repository} ${digest}: ${bytes.toString().slice(0, 300)}`);
  assert.equal(sha256(bytes), digest);
  return true;
}

const nameOf = ({ repository, digest }: { repository: string; digest: string }): string => `${repository}@${digest}`;
const NO_TAG: Tag = { current: undefined, history: [] };

function apply(state: State, { image, isThere, tags, digest }: Change): void {
  state.images.set(nameOf(image), { image, isThere });
  for (const tag of tags) {
    const key = `${image.repository} ${tag}`;
    const { current, history } = state.tags.get(key) ?? NO_TAG;
    // Like the registry: setting a tag to the same digest is no change.
    if (current !== digest) state.tags.set(key, { current: digest, history: [...history, digest] });
  }
}

/** Makes an empty model. */
export function createRegistryModel(): RegistryModel {
  let state: State = { images: new Map(), tags: new Map() };
  const pending = new Map<number, Change>();
  const blobs = new Map<string, Uint8Array>();
  const doubtfulBlobs = new Set<string>();
  let acknowledged = 0;

  /** The expected content, given which of the changes in doubt happened. Fails if one happened in part, or anything else differs. */
  function expectedState(manifests: ReadonlySet<string>, histories: ReadonlyMap<string, readonly (string | undefined)[]>): State {
    const found: State = { images: new Map(state.images), tags: new Map(state.tags) };
    for (const change of pending.values()) {
      const name = nameOf(change.image);
      const wasThere = state.images.get(name)?.isThere ?? false;
      const key = `${change.image.repository} ${change.tags[0]}`;
      const happened =
        wasThere === change.isThere
          ? (histories.get(key)?.length ?? 0) > (state.tags.get(key)?.history.length ?? 0)
          : manifests.has(name) === change.isThere;
      if (happened) apply(found, change);
    }
    for (const [name, { isThere }] of found.images) {
      if (isThere) assert.ok(manifests.has(name), `acknowledged, and gone: ${name}`);
      else assert.ok(!manifests.has(name), `deleted, and there: ${name}`);
    }
    for (const name of manifests) assert.ok(found.images.has(name), `there, and nobody was told: ${name}`);
    for (const key of new Set([...found.tags.keys(), ...histories.keys()])) {
      assert.deepEqual(histories.get(key) ?? [], found.tags.get(key)?.history ?? [], `acknowledged, and gone: the history of ${key}`);
    }
    return found;
  }

  async function checkTags(origin: string, repository: string, tags: State["tags"]): Promise<void> {
    const expected = [...tags]
      .filter(([key, { current }]) => current !== undefined && key.startsWith(`${repository} `))
      .map(([key, { current }]) => ({ tag: key.slice(repository.length + 1), digest: current! }))
      .sort((a, b) => (a.tag < b.tag ? -1 : 1));
    const list = await send(origin, "GET", `/v2/${repository}/tags/list`);
    const text = await list.text();
    assert.ok(list.status === 200 || (list.status === 404 && expected.length === 0), `${list.url} answered ${list.status}: ${text}`);
    const listed = list.status === 200 ? (JSON.parse(text) as { tags: string[] }).tags : [];
    assert.deepEqual(
      listed,
      expected.map(({ tag }) => tag),
      `acknowledged, and gone: a tag of ${repository}`,
    );
    for (const { tag, digest } of expected) {
      const answer = await send(origin, "HEAD", `/v2/${repository}/manifests/${tag}`);
      assert.equal(answer.headers.get("docker-content-digest"), digest, `${repository}:${tag}`);
    }
  }

  /** Drops what nothing needs, so that memory and checks stay small. */
  function forget(): void {
    const gone = [...state.images].filter(([, { isThere }]) => !isThere);
    for (const [name] of gone.slice(0, -MAX_GONE)) state.images.delete(name);
    const used = new Set([...state.images.values()].flatMap(({ image, isThere }) => (isThere ? image.blobs : [])));
    for (const digest of [...blobs.keys()].slice(0, -MAX_FREE_BLOBS)) if (!used.has(digest)) blobs.delete(digest);
  }

  return {
    blobs,
    get acknowledged() {
      return acknowledged;
    },
    imagesOf: (owner, repository) =>
      [...state.images.values()]
        .filter(({ image, isThere }) => isThere && image.owner === owner && image.repository === repository)
        .map(({ image }) => image),
    tagOf: (repository, tag) => state.tags.get(`${repository} ${tag}`)?.current,
    tagsOf: (image) =>
      [...state.tags]
        .filter(([key, { current }]) => current === image.digest && key.startsWith(`${image.repository} `))
        .map(([key]) => key.slice(image.repository.length + 1)),
    begin(client, change) {
      assert.ok(!pending.has(client), "a client has one change at a time");
      pending.set(client, change);
    },
    done(client) {
      apply(state, pending.get(client)!);
      pending.delete(client);
      acknowledged++;
    },
    refused: (client) => void pending.delete(client),
    mayHave: (repository, digest) => void doubtfulBlobs.add(`${repository} ${digest}`),
    async check(origin, stored, { learns = true } = {}) {
      const found = expectedState(await stored.manifests(), await stored.histories());
      const kept: Image[] = [];
      for (const { image, isThere } of found.images.values()) {
        assert.equal(
          await isWhole(origin, image),
          isThere,
          `${isThere ? "acknowledged, and gone" : "deleted, and there"}: ${nameOf(image)}`,
        );
        if (isThere) kept.push(image);
      }
      for (const repository of new Set([...found.images.values()].map(({ image }) => image.repository)))
        await checkTags(origin, repository, found.tags);
      for (const name of doubtfulBlobs) {
        const [repository, digest] = name.split(" ");
        await isBlobThere(origin, repository!, digest!);
      }
      if (learns) {
        state = found;
        pending.clear();
        doubtfulBlobs.clear();
        forget();
      }
      return { images: kept.length, blobs: new Set(kept.flatMap((image) => image.blobs)).size };
    },
  };
}
