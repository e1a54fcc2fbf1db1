// Projects that mirror another registry, over HTTP: manifests, tags, lists, what happens while the upstream does not answer, and who may what.
// Not here: blobs (upstream-blobs.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { it } from "node:test";
import { codeOf, until } from "./engines.testing.ts";
import { policyTrait } from "./gates.testing.ts";
import { AWAY, forEachMirror } from "./mirrors.testing.ts";
import { mirrorTrait } from "./registry-upstream.testing.ts";
import { expectStatus, sha256 } from "./registry.testing.ts";
import { imageOf, OCI } from "./upstreams.testing.ts";

forEachMirror("manifests, tags and rights", (on) => {
  const { as, ask, get, bytesOf, asked, isStored, released, settled, setTrait } = on;

  it("says what is wrong where nothing is here", async () => {
    const image = imageOf("v1", [randomBytes(100)]);
    await on.test.put(on.name, image.content);
    for (const [status, expected] of [
      [404, "404"],
      [401, "403 DENIED"],
      [403, "403 DENIED"],
      [429, "429 TOOMANYREQUESTS"],
      [500, "502 UPSTREAM_FAILED"],
      [503, "502 UPSTREAM_FAILED"],
    ] as const) {
      for (const path of ["manifests/v1", `manifests/${image.digest}`, `blobs/${sha256(image.config)}`]) {
        // What is heard of one repository is remembered of that.
        on.useRepository();
        await on.test.put(on.name, image.content);
        on.test.fault = { on: /./, kind: "status", status, ...(status === 429 ? { retryAfter: 77 } : {}) };
        const answer = await get(path);
        if (status === 429)
          assert.ok([76, 77].includes(Number(answer.headers.get("retry-after"))), String(answer.headers.get("retry-after")));
        const unknown = path.startsWith("blobs") ? "404 BLOB_UNKNOWN" : "404 MANIFEST_UNKNOWN";
        assert.equal(await codeOf(answer), status === 404 ? unknown : expected, `${status} ${path}`);
        on.test.fault = undefined;
        if (status === 429) await released();
      }
    }
    for (const path of ["manifests/v1", `blobs/${sha256(image.config)}`]) {
      on.test.fault = AWAY;
      assert.equal(await codeOf(await get(path)), "502 UPSTREAM_FAILED");
      // It is left alone for a while.
      const before = on.test.asked.length;
      assert.equal(await codeOf(await get(path)), "502 UPSTREAM_FAILED");
      assert.equal(on.test.asked.length, before);
      on.test.fault = undefined;
      await released();
    }
    assert.equal(await codeOf(await get("manifests/none")), "404 MANIFEST_UNKNOWN");
    assert.deepEqual(await bytesOf(await get("manifests/v1")), image.bytes);
  });

  it("believes no manifest whose digest is another", async () => {
    const image = imageOf("v1", [randomBytes(100)]);
    await on.test.put(on.name, image.content);
    for (const kind of ["wrong", "cut"] as const) {
      on.test.fault = { on: /^GET manifests/, kind, afterBytes: 20 };
      for (const path of ["manifests/v1", `manifests/${image.digest}`]) assert.equal(await codeOf(await get(path)), "502 UPSTREAM_FAILED");
    }
    on.test.fault = undefined;
    assert.deepEqual(await bytesOf(await get("manifests/v1")), image.bytes);
  });

  it("asks again what a tag names when its time is over, and follows it", async () => {
    const [one, two] = [imageOf("v1", [randomBytes(100)]), imageOf("v1", [randomBytes(200)])];
    const digestNow = async (): Promise<string | null> =>
      (await expectStatus(await get("manifests/v1"), 200)).headers.get("docker-content-digest");
    await on.test.put(on.name, one.content);
    assert.equal(await digestNow(), one.digest);
    await on.test.put(on.name, two.content);
    assert.equal(await digestNow(), one.digest);
    on.test.ttlMs = 0;
    assert.equal(await digestNow(), two.digest);
    on.test.asked.length = 0;
    assert.equal(await digestNow(), two.digest);
    assert.deepEqual(on.test.asked, ["HEAD manifests/v1"]);
    // Back to what is here: nothing is fetched for it.
    await on.test.put(on.name, one.content);
    on.test.asked.length = 0;
    assert.equal(await digestNow(), one.digest);
    assert.deepEqual(on.test.asked, ["HEAD manifests/v1"]);
  });

  it("gives out what is stored while the upstream does not answer, with a warning; a tag that it has no more is none here either", async () => {
    const image = imageOf("v1", [randomBytes(100)]);
    await on.test.put(on.name, image.content);
    await bytesOf(await get("manifests/v1"));
    on.test.ttlMs = 0;
    for (const fault of [AWAY, ...[401, 429, 500].map((status) => ({ on: /./, kind: "status", status }) as const)]) {
      on.test.fault = fault;
      for (const method of ["GET", "HEAD"]) {
        const answer = await ask(method, "manifests/v1");
        assert.equal(answer.status, 200);
        assert.match(answer.headers.get("warning")!, new RegExp(`^299 - "hub/${on.name}:v1 may be out of date: the upstream registry`));
      }
      // What a digest names is never out of date.
      assert.equal((await get(`manifests/${image.digest}`)).headers.get("warning"), null);
      await released();
    }
    on.test.fault = undefined;
    assert.equal((await get("manifests/v1")).headers.get("warning"), null);
    await on.test.deleteTag(on.name, "v1");
    assert.equal(await codeOf(await get("manifests/v1")), "404 MANIFEST_UNKNOWN");
    assert.deepEqual(await bytesOf(await get(`manifests/${image.digest}`)), image.bytes);
    // Who pushes it there again need not wait for long.
    await on.test.put(on.name, image.content);
    await until("it is back", async () => (await get("manifests/v1")).status === 200);
  });

  it("lists what the upstream lists, in its pages; and what is stored where that does not answer", async () => {
    const images = ["a", "b", "c"].map((tag) => imageOf(tag, [randomBytes(10)]));
    for (const image of images) await on.test.put(on.name, image.content);
    await bytesOf(await get("manifests/b"));
    const tags: string[] = [];
    let next: string | undefined = `/v2/hub/${on.name}/tags/list?n=2`;
    while (next !== undefined) {
      const page = await expectStatus(await on.registry.send("GET", next, as("reader")), 200);
      const body = (await page.json()) as { name: string; tags: string[] };
      assert.equal(body.name, `hub/${on.name}`);
      tags.push(...body.tags);
      next = /<([^>]*)>/.exec(page.headers.get("link") ?? "")?.[1];
    }
    assert.deepEqual(tags, ["a", "b", "c"]);
    assert.deepEqual(((await (await get("tags/list?last=a&n=1")).json()) as { tags: string[] }).tags, ["b"]);
    on.test.fault = AWAY;
    const stored = await get("tags/list");
    assert.deepEqual(((await stored.json()) as { tags: string[] }).tags, ["b"]);
    assert.match(stored.headers.get("warning")!, /only what is stored here is listed/);
    assert.equal(await codeOf(await on.registry.send("GET", "/v2/hub/nothing/tags/list", as("reader"))), "502 UPSTREAM_FAILED");
    await released();
    on.test.fault = undefined;
    assert.equal(await codeOf(await on.registry.send("GET", "/v2/hub/nothing/tags/list", as("reader"))), "404 NAME_UNKNOWN");
  });

  it("lists the upstream's referrers, also those that nobody pulled", async () => {
    const image = imageOf("v1", [randomBytes(10)]);
    const signatures = ["one", "two"].map((text) =>
      imageOf(text, [Buffer.from(text)], {
        artifactType: `application/vnd.test.${text}`,
        subject: { mediaType: OCI, digest: image.digest, size: image.bytes.length },
      }),
    );
    await on.test.put(on.name, image.content);
    for (const { content, bytes } of signatures) await on.test.put(on.name, { ...content, manifests: [{ bytes, mediaType: OCI }] });
    const digests = async (answer: Response): Promise<string[]> =>
      ((await (await expectStatus(answer, 200)).json()) as { manifests: { digest: string }[] }).manifests
        .map(({ digest }) => digest)
        .toSorted();
    assert.deepEqual(await digests(await get(`referrers/${image.digest}`)), signatures.map(({ digest }) => digest).toSorted());
    const filtered = await get(`referrers/${image.digest}?artifactType=application%2Fvnd.test.two`);
    assert.equal(filtered.headers.get("oci-filters-applied"), "artifactType");
    assert.deepEqual(await digests(filtered), [signatures[1]!.digest]);
    await bytesOf(await get(`manifests/${signatures[0]!.digest}`));
    on.test.fault = AWAY;
    const stored = await get(`referrers/${image.digest}`);
    assert.match(stored.headers.get("warning")!, /only what is stored here is listed/);
    assert.deepEqual(await digests(stored), [signatures[0]!.digest]);
    await released();
  });

  it("is pushed to by nobody, in no way, and says why", async () => {
    const blob = randomBytes(100);
    const own = await on.registry.pushBlob("own/app", blob);
    const manifest = imageOf("v1", []).bytes;
    for (const options of [as("writer"), as("owner"), {}]) {
      for (const [method, path, body] of [
        ["POST", "blobs/uploads/", undefined],
        ["POST", `blobs/uploads/?digest=${own}`, blob],
        ["POST", `blobs/uploads/?mount=${own}&from=own/app`, undefined],
        ["PUT", "manifests/v1", manifest],
      ] as const) {
        const headers = { ...options.headers, "content-type": body === manifest ? OCI : "application/octet-stream" };
        const answer = await ask(method, path, { headers, ...(body === undefined ? {} : { body }) });
        assert.match(
          await answer.clone().text(),
          /nothing can be pushed to project hub: it is a proxy of another registry/,
          `${method} ${path}`,
        );
        assert.equal(await codeOf(answer), "403 DENIED");
      }
    }
    assert.equal(on.test.asked.length, 0);
  });

  it("may be deleted from, and comes again", async () => {
    const image = imageOf("v1", [randomBytes(100)]);
    await on.test.put(on.name, image.content);
    await bytesOf(await get("manifests/v1"));
    await expectStatus(await ask("DELETE", `manifests/${image.digest}`, as("owner")), 202);
    assert.equal(await isStored(`manifests/${image.digest}`), false);
    on.test.asked.length = 0;
    assert.deepEqual(await bytesOf(await get("manifests/v1")), image.bytes);
    assert.equal(asked(/^GET manifests/), 1);
  });

  it("asks for nobody who may not pull", async () => {
    const image = imageOf("v1", [randomBytes(100)]);
    await on.test.put(on.name, image.content);
    for (const path of [
      "manifests/v1",
      `manifests/${image.digest}`,
      `blobs/${sha256(image.config)}`,
      "tags/list",
      `referrers/${image.digest}`,
    ]) {
      for (const method of ["GET", "HEAD"]) {
        assert.equal((await ask(method, path, { anonymous: true })).status, 401, path);
        assert.equal((await ask(method, path, as("stranger"))).status, 404, path);
      }
    }
    assert.equal(on.test.asked.length, 0);
    assert.equal(await isStored("manifests/v1"), false);
  });

  it("is judged by the gates, also what has just come; and no blob comes that they do not give out", async () => {
    const [good, bad] = [imageOf("good", [randomBytes(100)]), imageOf("bad", [randomBytes(200)])];
    for (const { content } of [good, bad]) await on.test.put(on.name, content);
    await on.gate.put(bad.digest, { says: "no", text: "it is bad" });
    await on.gate.put(good.digest, { says: "warn", text: "take care" });
    await setTrait("hub", policyTrait, { level: "high" });
    await settled();
    try {
      // Before any manifest leads to it.
      assert.equal((await get(`blobs/${sha256(good.config)}`)).status, 404);
      for (const reference of ["bad", bad.digest]) assert.equal(await codeOf(await get(`manifests/${reference}`)), "403 DENIED");
      const warned = await get("manifests/good");
      assert.equal(warned.headers.get("warning"), '299 - "take care"');
      for (const method of ["GET", "HEAD"]) assert.equal((await ask(method, `blobs/${sha256(bad.layers[0]!)}`)).status, 403);
      assert.equal(asked(/blobs/), 0);
      assert.deepEqual(await bytesOf(await get(`blobs/${sha256(good.layers[0]!)}`)), good.layers[0]);
      // What cannot be stored cannot be judged.
      const late = imageOf("late", [randomBytes(300)]);
      await on.test.put(on.name, late.content);
      on.isFull = true;
      assert.equal(await codeOf(await get("manifests/late")), "503 UNAVAILABLE");
    } finally {
      await setTrait("hub", policyTrait, undefined);
      await settled();
    }
  });

  it("ends with the trait", async () => {
    const image = imageOf("v1", [randomBytes(100)]);
    await on.test.put(on.name, image.content);
    await setTrait("hub", mirrorTrait, undefined);
    await settled();
    assert.equal(await codeOf(await get("manifests/v1")), "404 MANIFEST_UNKNOWN");
    await expectStatus(await ask("POST", "blobs/uploads/", as("writer")), 202);
    assert.equal(on.test.asked.length, 0);
    await released();
    assert.deepEqual(await bytesOf(await get("manifests/v1")), image.bytes);
  });
});
