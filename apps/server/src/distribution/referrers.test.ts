// Pages of referrers: they end by rows and by bytes, whatever annotations hold, and go on through the referrers tag of older clients with a
// bounded number of look-ups; all pages together are the list. Not here: filters and headers over HTTP (test/flows/distribution-api.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { digestOf, type Digest } from "@berth/oci/digest";
import { parseManifest } from "@berth/oci/manifest";
import { OCI_INDEX, OCI_MANIFEST } from "@berth/oci/media-types";
import type { Tag } from "@berth/oci/reference";
import { createTestClock, TEST_MASTER_KEY } from "../access/access.testing.ts";
import type { Authorizer } from "../access/authorize.ts";
import type { Caller, Grant } from "../access/caller.ts";
import { createMemoryBlobs, createMemoryStore } from "../content/blobs/memory.ts";
import { blobOf, createContent, createGrants, upload, type Content, inRepository } from "../content/content.testing.ts";
import { createReferrers } from "../content/referrers.ts";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { createListPlaces } from "./list-places.ts";
import { createLists, type ListPage, type Lists, type ReferrerDescriptor } from "./lists.ts";

const PAGE_BYTES = 4 * 1024 * 1024;
const caller = {} as Caller;

forEachDatabase("pages of referrers", (create) => {
  let test: TestDatabase;
  let content: Content;
  let lists: Lists;
  let push: Grant<"push">;
  let id: number;
  /** How many digests each look-up asked for. */
  const lookedUp: number[] = [];
  const config = blobOf("config", 1);
  const descriptor = { mediaType: "application/x", digest: config.digest, size: config.bytes.length };

  before(async () => {
    test = await create();
    content = createContent(test.database, createMemoryStore({ processId: "one", memory: createMemoryBlobs() }), createTestClock());
    push = (await createGrants(test.database))("push", "test/one");
    id = (await content.repositories.ensure(push)).id;
    await upload(content, push, config);
    const { repositories, manifests, tags } = content;
    const referrers = createReferrers(test.database);
    lists = createLists({
      authorizer: { authorize: () => push } as unknown as Authorizer,
      repositories,
      manifests,
      tags,
      places: createListPlaces(TEST_MASTER_KEY),
      referrers: {
        ...referrers,
        listSubjects(repository, digests) {
          lookedUp.push(digests.length);
          return referrers.listSubjects(repository, digests);
        },
      },
    });
  });
  after(() => test.end());

  async function put(document: object, mediaType: string, tags: readonly string[] = []): Promise<Digest> {
    const bytes = Buffer.from(JSON.stringify(document));
    const parsed = parseManifest(bytes, mediaType);
    const digest = digestOf(bytes);
    await content.manifests.put(inRepository(push, id), {
      digest,
      bytes,
      parsed,
      tags: tags as readonly Tag[],
      condition: { kind: "none" },
      mayBeSparse: false,
    });
    return digest;
  }

  const refer = (subject: Digest, annotations: Readonly<Record<string, string>>): Promise<Digest> =>
    put(
      { schemaVersion: 2, config: descriptor, layers: [], subject: { mediaType: OCI_MANIFEST, digest: subject, size: 9 }, annotations },
      OCI_MANIFEST,
    );

  async function pagesOf(subject: Digest, limit: number): Promise<ListPage<ReferrerDescriptor>[]> {
    const pages: ListPage<ReferrerDescriptor>[] = [];
    for (let last: string | undefined = ""; last !== undefined; last = pages.at(-1)!.next) {
      pages.push(await lists.referrers(caller, push.repository, subject, { artifactType: undefined, last, limit }));
      assert.ok(pages.length < 1000, "the pages do not end");
    }
    return pages;
  }
  const bytesOf = (page: ListPage<ReferrerDescriptor>): number => Buffer.byteLength(JSON.stringify(page.items));

  it("end by bytes, and hold every referrer with its annotations", async () => {
    const subject = digestOf(Buffer.from("large"));
    const expected = new Map<string, string>();
    // Of all sizes around what a row brings along and what fits a page; some longer in bytes than in characters.
    for (const [i, length] of [
      3_500_000, 10, 1000, 1024, 1025, 2_000_000, 2_000_000, 2_000_000, 900_000, 4, 3_900_000, 700_000,
    ].entries()) {
      const note = (i % 3 === 2 ? "\u00e9" : "e").repeat(i % 3 === 2 ? length / 2 : length);
      expected.set(await refer(subject, { [`k${i}`]: note }), note);
    }
    for (const limit of [1, 3, 1000]) {
      const pages = await pagesOf(subject, limit);
      for (const page of pages) {
        assert.ok(page.items.length <= limit);
        assert.ok(page.items.length === 1 || bytesOf(page) <= PAGE_BYTES + 100_000, `${bytesOf(page)} bytes`);
      }
      const items = pages.flatMap((page) => page.items);
      assert.deepEqual(
        items.map((item) => item.digest),
        [...expected.keys()],
      );
      for (const item of items) assert.equal(Object.values(item.annotations!)[0], expected.get(item.digest));
    }
    assert.ok((await pagesOf(subject, 1000)).length >= 5);
  });

  it("go on through the referrers tag, of which each looks up a bounded part", async () => {
    const subject = digestOf(Buffer.from("tagged"));
    const own = [await refer(subject, { n: "1" }), await refer(subject, { n: "2" })];
    const listed: Digest[] = [];
    for (let i = 0; i < 12; i++) listed.push(await refer(digestOf(Buffer.from("another subject")), { n: `listed ${i}` }));
    const absent = Array.from({ length: 4000 }, (_, i) => digestOf(Buffer.from(`absent ${i}`)));
    const entry = (digest: Digest, note = "") => ({ mediaType: OCI_MANIFEST, digest, size: 5, annotations: { note } });
    const entries = [
      ...absent.map((digest) => entry(digest)),
      ...own.map((digest) => entry(digest)),
      ...listed.map((digest) => entry(digest)),
    ];
    await put({ schemaVersion: 2, manifests: [...entries, entries.at(-1)] }, OCI_INDEX, [subject.replace(":", "-")]);
    for (const limit of [1, 2, 5, 1000]) {
      lookedUp.length = 0;
      const pages = await pagesOf(subject, limit);
      for (const page of pages) assert.ok(page.items.length <= limit);
      assert.equal(lookedUp.length <= pages.length, true);
      assert.ok(lookedUp.every((count) => count <= 1000));
      const items = pages.flatMap((page) => page.items.map((item) => item.digest));
      assert.deepEqual(items.slice(0, 2), own);
      assert.deepEqual(items.slice(2), listed.toSorted());
    }
  });

  it("end by bytes in the referrers tag too", async () => {
    const subject = digestOf(Buffer.from("large tag"));
    const note = "e".repeat(700_000);
    const own = await refer(subject, { note: "e".repeat(3_000_000) });
    const listed: Digest[] = [];
    for (let i = 0; i < 5; i++) listed.push(await refer(digestOf(Buffer.from("another subject")), { n: `large ${i}` }));
    const manifests = listed.map((digest) => ({ mediaType: OCI_MANIFEST, digest, size: 5, annotations: { note } }));
    await put({ schemaVersion: 2, manifests }, OCI_INDEX, [subject.replace(":", "-")]);
    const pages = await pagesOf(subject, 1000);
    for (const page of pages) assert.ok(bytesOf(page) <= PAGE_BYTES + 1_000_000, `${bytesOf(page)} bytes`);
    assert.deepEqual(
      pages.flatMap((page) => page.items.map((item) => item.digest)),
      [own, ...listed.toSorted()],
    );
    assert.ok(pages.length > 1);
  });

  it("refuse a place that none of them gave", async () => {
    for (const last of ["x", "-1", "tagx", "tagsha256:zz", `${"9".repeat(16)}`]) {
      await assert.rejects(lists.referrers(caller, push.repository, config.digest, { artifactType: undefined, last, limit: 1 }), {
        code: "PAGE_INVALID",
      });
    }
  });
});
