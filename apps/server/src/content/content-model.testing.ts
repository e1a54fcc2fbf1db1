// A model of what was acknowledged, kept beside a content layer under test, and the checks that the layer still has all of it. Not here:
// the actors (distribution/schedules.test.ts).
import assert from "node:assert/strict";
import { digestOf, type Digest } from "@berth/oci/digest";
import type { Clock } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { MemoryBlobs } from "./blobs/memory.ts";
import type { StorageKey } from "./blobs/blob-store.ts";

/** The operations on one name. A claim about it counts only if no operation that could end it overlapped. */
interface Endings {
  begun: number;
  active: number;
}

/** A manifest that was acknowledged. */
export interface KeptManifest {
  readonly repositoryId: number;
  readonly digest: Digest;
  readonly blobs: readonly Digest[];
}

/** The model. Names are `repositoryId digest` or `repositoryId tag`. */
export interface ContentModel {
  /** Runs an operation that may end what the names name: claims about them are void from its beginning. */
  ending<T>(names: readonly string[], run: () => Promise<T>): Promise<T>;
  /** Runs an operation that claims something, and calls `claim` if it succeeded and no operation that ends the name overlapped it. */
  claiming<T>(name: string, run: () => Promise<T>, claim: (result: T) => void): Promise<T>;
  /** Both: claims are void from the beginning, and made anew if it succeeded and nothing else overlapped it. */
  replacing<T>(names: readonly string[], run: () => Promise<T>, claim: (result: T) => void): Promise<T>;
  keepManifest(manifest: KeptManifest): void;
  keepTag(repositoryId: number, tag: string, digest: Digest): void;
  /** A client was answered that a blob exists: it must stay until then. */
  promiseBlob(repositoryId: number, digest: Digest, until: number): void;
  /**
   * Remembers the present promises; the result says whether each of them has stood ever since. One that was made later, perhaps after the
   * blob was deleted and came back, does not count.
   */
  watchPromises(repositoryId: number, digests: readonly Digest[]): () => boolean;
  readonly manifests: ReadonlyMap<string, KeptManifest>;
  /** Throws if the database or the store breaks what the model holds. */
  check(database: Database): Promise<void>;
  /** Throws if anything unreferenced is left: for the end, after collection far in the future. */
  checkQuiet(database: Database): Promise<void>;
}

const listBlobs = statement<Record<never, never>>()("model.blobs", (db) =>
  db
    .selectFrom("blob")
    .leftJoin("blob_inline", "blob_inline.blob_id", "blob.id")
    .select(["blob.id", "blob.digest", "blob.storage_key", "blob_inline.bytes", "blob.damaged_at"]),
);
const listLinks = statement<Record<never, never>>()("model.links", (db) =>
  db
    .selectFrom("repository_blob")
    .innerJoin("blob", "blob.id", "repository_blob.blob_id")
    .select(["repository_blob.repository_id", "repository_blob.leased_until", "blob.digest"]),
);
const listEdges = statement<Record<never, never>>()("model.edges", (db) =>
  db
    .selectFrom("manifest")
    .leftJoin("manifest_blob", "manifest_blob.manifest_id", "manifest.id")
    .leftJoin("blob", "blob.id", "manifest_blob.blob_id")
    .select(["manifest.repository_id", "manifest.digest", "blob.digest as blob"]),
);
const listTags = statement<Record<never, never>>()("model.tags", (db) =>
  db.selectFrom("tag").innerJoin("manifest", "manifest.id", "tag.manifest_id").select(["tag.repository_id", "tag.name", "manifest.digest"]),
);
const listUploads = statement<Record<never, never>>()("model.uploads", (db) => db.selectFrom("upload").select("id"));
const listReclaim = statement<Record<never, never>>()("model.reclaim", (db) => db.selectFrom("reclaim").select("storage_key"));

/** Creates a model of a database over a memory store. */
export function createContentModel(memory: MemoryBlobs, clock: Clock): ContentModel {
  const endings = new Map<string, Endings>();
  const manifests = new Map<string, KeptManifest>();
  const tags = new Map<string, Digest>();
  const promises = new Map<string, number>();
  const digests = new Map<StorageKey, Digest>();

  function endingsOf(name: string): Endings {
    let found = endings.get(name);
    if (found === undefined) endings.set(name, (found = { begun: 0, active: 0 }));
    return found;
  }

  function digestAt(key: StorageKey): Digest | undefined {
    const blob = memory.blobs.get(key);
    if (blob === undefined) return undefined;
    let digest = digests.get(key);
    if (digest === undefined) digests.set(key, (digest = digestOf(blob.bytes)));
    return digest;
  }

  async function findBrokenBlobs(database: Database): Promise<string[]> {
    const rows = await database.all(listBlobs, {});
    return rows
      .filter((row) => {
        const actual = row.storage_key === null ? row.bytes && digestOf(row.bytes) : digestAt(row.storage_key as StorageKey);
        return row.damaged_at !== null || actual !== row.digest;
      })
      .map((row) => `${row.id} ${row.digest} at ${row.storage_key ?? "inline"}`);
  }

  function begin(names: readonly string[]): void {
    for (const name of names) {
      const ending = endingsOf(name);
      ending.begun++;
      ending.active++;
      manifests.delete(name);
      tags.delete(name);
      promises.delete(name);
    }
  }
  function end(names: readonly string[]): void {
    for (const name of names) endingsOf(name).active--;
  }
  const begunOf = (names: readonly string[]): number => names.reduce((sum, name) => sum + endingsOf(name).begun, 0);
  const isAnyActive = (names: readonly string[]): boolean => names.some((name) => endingsOf(name).active > 0);

  async function claiming<T>(names: readonly string[], run: () => Promise<T>, claim: (result: T) => void): Promise<T> {
    const [begun, isCrossed] = [begunOf(names), isAnyActive(names)];
    const result = await run();
    if (!isCrossed && begunOf(names) === begun) claim(result);
    return result;
  }

  return {
    manifests,
    claiming: (name, run, claim) => claiming([name], run, claim),
    async ending(names, run) {
      begin(names);
      try {
        return await run();
      } finally {
        end(names);
      }
    },
    async replacing(names, run, claim) {
      const isCrossed = isAnyActive(names);
      begin(names);
      try {
        const begun = begunOf(names);
        const result = await run();
        if (!isCrossed && begunOf(names) === begun) claim(result);
        return result;
      } finally {
        end(names);
      }
    },

    keepManifest: (manifest) => void manifests.set(`${manifest.repositoryId} ${manifest.digest}`, manifest),
    keepTag: (repositoryId, tag, digest) => void tags.set(`${repositoryId} ${tag}`, digest),
    promiseBlob(repositoryId, digest, until) {
      const name = `${repositoryId} ${digest}`;
      promises.set(name, Math.max(until, promises.get(name) ?? 0));
    },
    watchPromises(repositoryId, digests) {
      const names = digests.map((digest) => `${repositoryId} ${digest}`);
      const begun = begunOf(names);
      const until = Math.min(...names.map((name) => promises.get(name) ?? 0));
      return () => begunOf(names) === begun && until >= clock.now();
    },

    async check(database) {
      let broken = await findBrokenBlobs(database);
      // Row and bytes are read one after the other: if a step runs at the same time, read once more.
      if (broken.length > 0) broken = await findBrokenBlobs(database);
      assert.deepEqual(broken, [], "rows without their bytes");
      // On a busy machine a step may run at the same time: what was acknowledged after the check began need not be visible.
      const before = { promises: new Map(promises), manifests: new Map(manifests), tags: new Map(tags) };
      const links = new Map((await database.all(listLinks, {})).map((link) => [`${link.repository_id} ${link.digest}`, link.leased_until]));
      for (const [name, until] of promises) {
        if (until < clock.now()) {
          promises.delete(name);
          continue;
        }
        if (before.promises.get(name) !== until) continue;
        const lease = links.get(name);
        assert.notEqual(lease, undefined, `blob ${name} is gone, which was promised for ${until - clock.now()} ms more`);
        // It must not only exist, but be safe from a collector that runs now.
        assert.ok(lease === null || lease! >= until, `blob ${name} may go ${until - lease!} ms before the time that was promised`);
      }
      const edges = new Set(
        (await database.all(listEdges, {}))
          .flatMap((edge) => [edge, { ...edge, blob: "" }])
          .map((edge) => `${edge.repository_id} ${edge.digest} ${edge.blob}`),
      );
      for (const [name, manifest] of manifests) {
        if (before.manifests.get(name) !== manifest) continue;
        const { blobs } = manifest;
        assert.ok(edges.has(`${name} `), `manifest ${name} is gone`);
        for (const blob of blobs) assert.ok(edges.has(`${name} ${blob}`), `manifest ${name} lost its blob ${blob}`);
      }
      const named = new Map((await database.all(listTags, {})).map((tag) => [`${tag.repository_id} ${tag.name}`, tag.digest]));
      for (const [name, digest] of tags) {
        if (before.tags.get(name) === digest) assert.equal(named.get(name), digest, `tag ${name}`);
      }
    },

    async checkQuiet(database) {
      const edges = await database.all(listEdges, {});
      const held = [...new Set(edges.flatMap((edge) => (edge.blob === null ? [] : [`${edge.repository_id} ${edge.blob}`])))].toSorted();
      const links = await database.all(listLinks, {});
      assert.deepEqual(links.map((link) => `${link.repository_id} ${link.digest}`).toSorted(), held, "links are not the edges");
      assert.deepEqual(
        links.filter((link) => link.leased_until !== null),
        [],
        "a held link waits for the collector",
      );
      const blobs = await database.all(listBlobs, {});
      assert.deepEqual(
        blobs.map((blob) => blob.digest).toSorted(),
        [...new Set(links.map((link) => link.digest))].toSorted(),
        "blobs are not the linked ones",
      );
      assert.deepEqual(await database.all(listUploads, {}), [], "upload rows are left");
      assert.deepEqual(await database.all(listReclaim, {}), [], "reclaim rows are left");
      const bound = blobs.flatMap((blob) => blob.storage_key ?? []).toSorted();
      assert.deepEqual([...memory.blobs.keys()].toSorted(), bound, "keys of the store are not the bound ones");
    },
  };
}
