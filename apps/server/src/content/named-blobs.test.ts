// Whatever a stored manifest names is held: for random manifests of every type and blobs that come before, after or never, nothing named is
// collected while the manifest exists, deleting it is refused, and all of it is collected after the manifest. Also for manifests of earlier
// releases. Not here: interleavings (garbage.test.ts), which digests a manifest names (packages/oci).
import assert from "node:assert/strict";
import { after, before, beforeEach, it } from "node:test";
import { digestOf, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { parseManifest } from "@berth/oci/manifest";
import { DOCKER_LIST, DOCKER_MANIFEST, OCI_ARTIFACT, OCI_INDEX, OCI_MANIFEST } from "@berth/oci/media-types";
import fc from "fast-check";
import { createTestClock, type TestClock } from "../access/access.testing.ts";
import type { Grant } from "../access/caller.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { createMemoryBlobs, createMemoryStore } from "./blobs/memory.ts";
import { blobOf, createContent, createGrants, TEST_TIMES, upload, type Content, type TestBlob, inRepository } from "./content.testing.ts";
import type { ManifestPut } from "./manifests.ts";
import { hasOlderManifests, readOlderManifests } from "./older-manifests.ts";

const { leaseMs } = TEST_TIMES;
const BLOBS: readonly TestBlob[] = Array.from({ length: 6 }, (_, i) => blobOf(`blob ${i} `, i % 2 === 0 ? 1 : 20));
const RUNS = 40;

/** When a blob comes: before the manifest, after it, when the leases of the first have ended, or never. */
type Coming = "before" | "after" | "late" | "never";

/** A descriptor of one of the blobs, of any media type, with or without the mark that it is stored elsewhere. */
const descriptor = fc
  .record({
    blob: fc.nat(BLOBS.length - 1),
    mediaType: fc.constantFrom(
      OCI_MANIFEST,
      "application/vnd.oci.image.layer.v1.tar+gzip",
      "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
      "application/vnd.buildkit.cacheconfig.v0",
    ),
    extra: fc.constantFrom({}, { urls: ["https://example.com/x"] }, { platform: { os: "linux", architecture: "amd64" } }),
  })
  .map(({ blob, mediaType, extra }) => ({ mediaType, digest: BLOBS[blob]!.digest, size: BLOBS[blob]!.bytes.length, ...extra }));
const descriptors = fc.array(descriptor, { maxLength: 3 });
/** An unknown field: descriptors or bare digests at any depth. */
const unknown = fc.letrec((tie) => ({
  node: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(null, 1, "text", "sha256:no"),
    descriptor,
    fc.nat(BLOBS.length - 1).map((blob) => BLOBS[blob]!.digest),
    fc.nat(BLOBS.length - 1).map((blob) => ({ [BLOBS[blob]!.digest]: "a key" })),
    fc.array(tie("node"), { maxLength: 2 }),
    fc.record({ inner: tie("node") }),
  ),
})).node;
const common = { subject: descriptor, "com.example.field": unknown, artifactType: fc.constant("application/x") };
const image = fc.record(
  { schemaVersion: fc.constant(2), config: descriptor, layers: descriptors, ...common },
  { requiredKeys: ["schemaVersion", "config", "layers"] },
);
const index = fc.record(
  { schemaVersion: fc.constant(2), manifests: descriptors, ...common },
  { requiredKeys: ["schemaVersion", "manifests"] },
);
const artifact = fc.record({ blobs: descriptors, ...common }, { requiredKeys: ["blobs"] });
const scenario = fc.record({
  document: fc.oneof(
    fc.tuple(fc.constantFrom(OCI_MANIFEST, DOCKER_MANIFEST), image),
    fc.tuple(fc.constantFrom(OCI_INDEX, DOCKER_LIST), index),
    fc.tuple(fc.constant(OCI_ARTIFACT), artifact),
  ),
  coming: fc.array(fc.constantFrom<Coming>("before", "after", "late", "never"), { minLength: BLOBS.length, maxLength: BLOBS.length }),
  /** As an earlier release would have left it: with edges only to distributable layers and the config. */
  isOlder: fc.boolean(),
});

forEachDatabase("what a manifest names", (create, dialect) => {
  let test: TestDatabase;
  let clock: TestClock;
  let content: Content;
  let grantFor: Awaited<ReturnType<typeof createGrants>>;
  let repositories = 0;

  before(async () => {
    test = await create();
    grantFor = await createGrants(test.database);
  });
  after(() => test.end());
  beforeEach(() => {
    clock = createTestClock();
    content = createContent(test.database, createMemoryStore({ processId: "one", memory: createMemoryBlobs() }), clock);
  });

  interface Place {
    readonly push: Grant<"push">;
    readonly remove: Grant<"delete">;
    readonly id: number;
  }
  async function newRepository(): Promise<Place> {
    const name = `test/r${++repositories}`;
    const push = grantFor("push", name);
    return { push, remove: grantFor("delete", name), id: (await content.repositories.ensure(push)).id };
  }

  /** Turns the manifests of a repository into those of an earlier release, which held only distributable layers and configs. */
  const olderIn = ({ id }: Place): string =>
    ["delete from manifest_sparse_blob", "update manifest set edges_version = 0"]
      .map((each) => `${each} where repository_id = ${id}`)
      .join(";");

  /** Runs rounds until nothing more is due, long after every lease. */
  async function collect(): Promise<void> {
    clock.advance(10 * leaseMs);
    while ((await content.garbage.collectLinks(100)).examined > 0);
  }

  const isThere = async ({ push, id }: Place, digest: Digest): Promise<boolean> =>
    (await content.blobs.find(inRepository(push, id), digest)) !== undefined;

  async function codeOfDeletion({ remove, id }: Place, digest: Digest): Promise<string> {
    try {
      await content.blobs.delete(inRepository(remove, id), digest);
      return "deleted";
    } catch (error) {
      assert.ok(error instanceof RegistryError);
      return `${error.status} ${error.code}`;
    }
  }

  function putOf(document: unknown, mediaType: string): ManifestPut {
    const bytes = Buffer.from(JSON.stringify(document));
    const parsed = parseManifest(bytes, mediaType);
    return { digest: digestOf(bytes), bytes, parsed, tags: [], condition: { kind: "none" }, mayBeSparse: true };
  }

  it("stays, and cannot be deleted, until the manifest goes", async () => {
    const seed = Number(process.env["BERTH_TEST_SEED"] ?? Date.now() % 2 ** 31);
    await fc.assert(
      fc.asyncProperty(scenario, async ({ document: [mediaType, document], coming, isOlder }) => {
        const place = await newRepository();
        const put = putOf(document, mediaType);
        const text = put.bytes.toString();
        // Blobs that the push requires come before it, whatever was drawn.
        const required = new Set(put.parsed.blobs.map((each) => each.digest));
        const time = (blob: TestBlob, at: number): Coming => (required.has(blob.digest) ? "before" : coming[at]!);
        const comeAt = async (when: Coming): Promise<void> => {
          for (const [at, blob] of BLOBS.entries()) if (time(blob, at) === when) await upload(content, place.push, blob);
        };
        await comeAt("before");
        await content.manifests.put(inRepository(place.push, place.id), put);
        if (isOlder) {
          await test.database.script(olderIn(place));
        }
        await comeAt("after");
        await collect();
        await comeAt("late");
        await collect();
        for (const [at, blob] of BLOBS.entries()) {
          const isNamed = text.includes(blob.digest);
          const hasCome = time(blob, at) !== "never";
          assert.equal(await isThere(place, blob.digest), isNamed && hasCome, `${blob.digest} ${time(blob, at)} ${text}`);
          const answer = await codeOfDeletion(place, blob.digest);
          assert.equal(answer, isNamed && hasCome ? "405 UNSUPPORTED" : "404 BLOB_UNKNOWN", text);
        }
        await content.manifests.delete(inRepository(place.remove, place.id), put.digest);
        for (const [at, blob] of BLOBS.entries()) {
          const wasThere = text.includes(blob.digest) && time(blob, at) !== "never";
          assert.equal(await isThere(place, blob.digest), wasThere, "a whole lease after the deletion");
        }
        await collect();
        for (const blob of BLOBS) assert.equal(await isThere(place, blob.digest), false);
      }),
      { numRuns: RUNS, seed },
    );
  });

  it("does not stay for what an annotation says", async () => {
    const place = await newRepository();
    const [blob] = BLOBS;
    await upload(content, place.push, blob!);
    const annotations = { "org.opencontainers.image.base.digest": blob!.digest, [blob!.digest]: "" };
    await content.manifests.put(inRepository(place.push, place.id), putOf({ schemaVersion: 2, manifests: [], annotations }, OCI_INDEX));
    await collect();
    assert.equal(await isThere(place, blob!.digest), false);
  });

  it("by a manifest of an earlier release is not deleted before that is read again", async () => {
    const place = await newRepository();
    const [blob, other] = BLOBS;
    for (const each of [blob!, other!]) await upload(content, place.push, each);
    const entry = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: blob!.digest, size: blob!.bytes.length };
    const put = putOf({ schemaVersion: 2, manifests: [entry] }, OCI_INDEX);
    await content.manifests.put(inRepository(place.push, place.id), put);
    await test.database.script(olderIn(place));
    assert.equal(await codeOfDeletion(place, blob!.digest), "503 UNAVAILABLE");
    while (await readOlderManifests(test.database));
    assert.equal(await hasOlderManifests(test.database), false);
    assert.equal(await codeOfDeletion(place, blob!.digest), "405 UNSUPPORTED");
    assert.equal(await codeOfDeletion(place, other!.digest), "deleted");
    // A push of the same manifest reads it as well.
    await test.database.script(olderIn(place));
    await content.manifests.put(inRepository(place.push, place.id), put);
    assert.equal(await hasOlderManifests(test.database), false);
    assert.equal(await codeOfDeletion(place, blob!.digest), "405 UNSUPPORTED");
  });

  // On SQLite one transaction runs at a time.
  if (dialect === "sqlite") return;
  it("is not taken by a collector while another replica reads the manifests of an earlier release", async () => {
    const place = await newRepository();
    const [blob] = BLOBS;
    await upload(content, place.push, blob!);
    const entry = { mediaType: "application/x", digest: blob!.digest, size: blob!.bytes.length };
    await content.manifests.put(inRepository(place.push, place.id), putOf({ schemaVersion: 2, manifests: [entry] }, OCI_INDEX));
    await test.database.script(olderIn(place));
    clock.advance(10 * leaseMs);
    const other = await test.open();
    let release = (): void => undefined;
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let locked = (): void => undefined;
    const isLocked = new Promise<void>((resolve) => {
      locked = resolve;
    });
    const reader = other.session(async (run) => {
      await run("begin");
      await run("select id from manifest where edges_version = 0 for update");
      locked();
      await released;
      await run("rollback");
    });
    await isLocked;
    assert.deepEqual(await content.garbage.collectLinks(100), { examined: 0, unlinked: 0, blobs: 0, bytes: 0 });
    release();
    await reader;
    assert.equal(await isThere(place, blob!.digest), true);
    await collect();
    assert.equal(await isThere(place, blob!.digest), true);
  });
});
