// The distribution API over HTTP on embedded parts: every operation, its headers, and the code of every kind of wrong input.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, describe, it } from "node:test";
import { expectStatus, sha256, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const REPO = "library/app";
const OCI = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const EMPTY_CONFIG = { mediaType: "application/vnd.oci.empty.v1+json", digest: sha256("{}"), size: 2 };
const ABSENT = `sha256:${"0".repeat(64)}`;

interface ErrorBody {
  readonly errors: readonly { readonly code: string; readonly message: string; readonly detail?: unknown }[];
}

async function codeOf(response: Response): Promise<string> {
  return ((await response.json()) as ErrorBody).errors[0]!.code;
}

describe("distribution API", () => {
  let registry: TestRegistry;
  before(async () => {
    registry = await startTestRegistry();
  });
  after(() => registry.stop());

  async function putManifest(body: object | string, reference: string, headers: Record<string, string> = {}): Promise<Response> {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    return registry.send("PUT", `/v2/${REPO}/manifests/${reference}`, { body: text, headers: { "content-type": OCI, ...headers } });
  }

  async function begin(): Promise<string> {
    return (await expectStatus(await registry.send("POST", `/v2/${REPO}/blobs/uploads/`), 202)).headers.get("location")!;
  }

  it("asks who is there", async () => {
    const anonymous = await registry.send("GET", "/v2/", { anonymous: true });
    assert.equal(anonymous.status, 401);
    assert.match(anonymous.headers.get("www-authenticate")!, /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/token",service="berth"/);
    assert.equal(anonymous.headers.get("docker-distribution-api-version"), "registry/2.0");
    assert.equal((await registry.send("GET", "/v2/")).status, 200);
  });

  it("gives an image back byte for byte, by tag and by digest, to anyone in a public project", async () => {
    const image = await registry.pushImage(REPO, "v1");
    for (const reference of ["v1", image.digest]) {
      const got = await expectStatus(await registry.send("GET", `/v2/${REPO}/manifests/${reference}`, { anonymous: true }), 200);
      assert.equal(got.headers.get("docker-content-digest"), image.digest);
      assert.equal(got.headers.get("content-type"), OCI);
      assert.equal(got.headers.get("etag"), `"${image.digest}"`);
      assert.equal(got.headers.get("cache-control"), "public, no-cache");
      assert.equal(await got.text(), image.manifest);
      const head = await expectStatus(await registry.send("HEAD", `/v2/${REPO}/manifests/${reference}`), 200);
      assert.equal(head.headers.get("content-length"), String(image.manifest.length));
      assert.equal(head.headers.get("docker-content-digest"), image.digest);
    }
    const known = await registry.send("GET", `/v2/${REPO}/manifests/v1`, { headers: { "if-none-match": `"${image.digest}"` } });
    assert.equal(known.status, 304);
    const layer = await expectStatus(await registry.send("GET", `/v2/${REPO}/blobs/${image.layerDigest}`), 200);
    assert.deepEqual(new Uint8Array(await layer.arrayBuffer()), new Uint8Array(image.layer));
  });

  it("reads ranges: single, suffix, open, clipped, several, and those that cannot be", async () => {
    const bytes = randomBytes(3_000_000);
    const digest = await registry.pushBlob(REPO, bytes);
    const get = (range: string): Promise<Response> => registry.send("GET", `/v2/${REPO}/blobs/${digest}`, { headers: { range } });
    const cases: [string, number, number][] = [
      ["bytes=0-0", 0, 0],
      ["bytes=500-1499", 500, 1499],
      ["bytes=1048570-1048590", 1048570, 1048590],
      ["bytes=2999990-", 2999990, 2999999],
      ["bytes=-5", 2999995, 2999999],
      ["bytes=2999990-9999999", 2999990, 2999999],
    ];
    for (const [range, start, end] of cases) {
      const got = await expectStatus(await get(range), 206);
      assert.equal(got.headers.get("content-range"), `bytes ${start}-${end}/3000000`, range);
      assert.deepEqual(Buffer.from(await got.arrayBuffer()), bytes.subarray(start, end + 1), range);
    }
    const several = await expectStatus(await get("bytes=0-9,2000000-2000009"), 206);
    const boundary = /boundary=(\w+)/.exec(several.headers.get("content-type")!)![1]!;
    const body = Buffer.from(await several.arrayBuffer());
    assert.equal(body.length, Number(several.headers.get("content-length")));
    assert.ok(body.includes(bytes.subarray(2000000, 2000010)));
    assert.ok(body.toString("latin1").endsWith(`--${boundary}--\r\n`));
    const beyond = await get("bytes=3000000-");
    assert.equal(beyond.status, 416);
    assert.equal(beyond.headers.get("content-range"), "bytes */3000000");
    assert.equal((await get("lines=1-2")).status, 200);
    for (const range of ["bytes=0-9", "bytes=0-9,20-29", "bytes=3000000-"]) {
      const head = await expectStatus(await registry.send("HEAD", `/v2/${REPO}/blobs/${digest}`, { headers: { range } }), 200);
      assert.equal(head.headers.get("content-length"), "3000000");
    }
    const nothing = await registry.pushBlob(REPO, new Uint8Array(0));
    await expectStatus(await registry.send("GET", `/v2/${REPO}/blobs/${nothing}`, { headers: { range: "bytes=0-" } }), 200);
  });

  it("takes a blob in one POST, in POST and PUT, in chunks, and as a stream", async () => {
    const whole = randomBytes(70_000);
    const single = await registry.send("POST", `/v2/${REPO}/blobs/uploads/?digest=${sha256(whole)}`, { body: whole });
    assert.equal(single.status, 201);
    assert.equal(single.headers.get("location"), `/v2/${REPO}/blobs/${sha256(whole)}`);

    const chunked = randomBytes(90_000);
    let location = await begin();
    for (const [start, end] of [
      [0, 9_999],
      [10_000, 39_999],
    ] as const) {
      const patched = await registry.send("PATCH", location, {
        body: chunked.subarray(start, end + 1),
        headers: { "content-range": `${start}-${end}`, "content-type": "application/octet-stream" },
      });
      await expectStatus(patched, 202);
      assert.equal(patched.headers.get("range"), `0-${end}`);
      location = patched.headers.get("location")!;
    }
    const skipped = await registry.send("PATCH", location, { body: chunked.subarray(50_000), headers: { "content-range": "50000-89999" } });
    assert.equal(skipped.status, 416);
    assert.equal(skipped.headers.get("range"), "0-39999");
    const status = await expectStatus(await registry.send("GET", location), 204);
    assert.equal(status.headers.get("range"), "0-39999");
    const last = await registry.send("PUT", `${location}?digest=${sha256(chunked)}`, {
      body: chunked.subarray(40_000),
      headers: { "content-range": "40000-89999" },
    });
    assert.equal(last.status, 201);

    const streamed = randomBytes(500_000);
    const stream = new ReadableStream({
      start(controller) {
        for (let i = 0; i < streamed.length; i += 1000) controller.enqueue(streamed.subarray(i, i + 1000));
        controller.close();
      },
    });
    location = await begin();
    const sent = await expectStatus(await registry.send("PATCH", location, { body: stream }), 202);
    assert.equal((await registry.send("PUT", `${sent.headers.get("location")}?digest=${sha256(streamed)}`)).status, 201);

    for (const bytes of [whole, chunked, streamed]) {
      const got = await expectStatus(await registry.send("GET", `/v2/${REPO}/blobs/${sha256(bytes)}`), 200);
      assert.equal(sha256(new Uint8Array(await got.arrayBuffer())), sha256(bytes));
    }
  });

  it("names blobs by sha512 and takes the empty blob", async () => {
    const bytes = randomBytes(60_000);
    const digest = `sha512:${createHash("sha512").update(bytes).digest("hex")}`;
    const location = await begin();
    await expectStatus(await registry.send("PATCH", location, { body: bytes }), 202);
    await expectStatus(await registry.send("PUT", `${location}?digest=${digest}`), 201);
    const got = await expectStatus(await registry.send("GET", `/v2/${REPO}/blobs/${digest}`), 200);
    assert.deepEqual(Buffer.from(await got.arrayBuffer()), bytes);
    const empty = await registry.pushBlob(REPO, new Uint8Array());
    const head = await expectStatus(await registry.send("HEAD", `/v2/${REPO}/blobs/${empty}`), 200);
    assert.equal(head.headers.get("content-length"), "0");
    assert.equal((await (await registry.send("GET", `/v2/${REPO}/blobs/${empty}`)).arrayBuffer()).byteLength, 0);
  });

  it("keeps nothing of an upload that was cancelled or is not what it says", async () => {
    for (const size of [100, 200_000]) {
      const bytes = randomBytes(size);
      const location = await begin();
      const wrong = await registry.send("PUT", `${location}?digest=${sha256(randomBytes(8))}`, { body: bytes });
      assert.equal(wrong.status, 400);
      assert.equal(await codeOf(wrong), "DIGEST_INVALID");
      assert.equal((await registry.send("HEAD", `/v2/${REPO}/blobs/${sha256(bytes)}`)).status, 404);
      assert.equal((await registry.send("GET", location)).status, 404);

      const cancelled = await begin();
      await expectStatus(await registry.send("PATCH", cancelled, { body: bytes }), 202);
      await expectStatus(await registry.send("DELETE", cancelled), 204);
      assert.equal((await registry.send("GET", cancelled)).status, 404);
      assert.equal((await registry.send("HEAD", `/v2/${REPO}/blobs/${sha256(bytes)}`)).status, 404);
    }
  });

  it("mounts what the caller may read, from a repository or from wherever it is", async () => {
    const bytes = randomBytes(50_000);
    const digest = await registry.pushBlob(REPO, bytes);
    const from = await registry.send("POST", `/v2/library/other/blobs/uploads/?mount=${digest}&from=${REPO}`);
    assert.equal(from.status, 201);
    const anywhere = await registry.send("POST", `/v2/library/third/blobs/uploads/?mount=${digest}`);
    assert.equal(anywhere.status, 201);
    assert.equal((await registry.send("HEAD", `/v2/library/third/blobs/${digest}`)).status, 200);
    const absent = await registry.send("POST", `/v2/library/third/blobs/uploads/?mount=${ABSENT}&from=${REPO}`);
    assert.equal(absent.status, 202);
    assert.match(absent.headers.get("location")!, /^\/v2\/library\/third\/blobs\/uploads\/.+/);
  });

  it("sets many tags in one push by digest, and compares before it sets when asked to", async () => {
    const { manifest, digest } = await registry.pushImage(REPO, "base");
    const many = await registry.send("PUT", `/v2/${REPO}/manifests/${digest}?tag=one&tag=two`, {
      body: manifest,
      headers: { "content-type": OCI },
    });
    assert.equal(many.status, 201);
    assert.equal(many.headers.get("oci-tag"), "one, two");
    assert.equal((await registry.send("HEAD", `/v2/${REPO}/manifests/two`)).headers.get("docker-content-digest"), digest);

    const next = await registry.pushImage(REPO, "next");
    assert.equal((await putManifest(next.manifest, "base", { "if-none-match": "*" })).status, 412);
    assert.equal((await putManifest(next.manifest, "base", { "if-match": `"${next.digest}"` })).status, 412);
    assert.equal((await putManifest(next.manifest, "fresh", { "if-match": "*" })).status, 412);
    assert.equal((await putManifest(next.manifest, "fresh", { "if-none-match": "*" })).status, 201);
    assert.equal((await putManifest(next.manifest, "base", { "if-match": `"${digest}"` })).status, 201);
    assert.equal((await registry.send("HEAD", `/v2/${REPO}/manifests/base`)).headers.get("docker-content-digest"), next.digest);
    assert.equal((await putManifest(next.manifest, "base", { "if-match": "nonsense" })).status, 400);

    // A deletion of what was seen, and nothing newer.
    const remove = (reference: string, headers: Record<string, string>): Promise<Response> =>
      registry.send("DELETE", `/v2/${REPO}/manifests/${reference}`, { headers });
    for (const reference of ["base", next.digest]) {
      assert.equal((await remove(reference, { "if-match": `"${digest}"` })).status, 412, reference);
      assert.equal((await remove(reference, { "if-none-match": "*" })).status, 412, reference);
      assert.equal((await remove(reference, { "if-match": "nonsense" })).status, 400, reference);
    }
    assert.equal((await remove("absent", { "if-match": "*" })).status, 404);
    assert.equal((await remove("base", { "if-match": `"${next.digest}"` })).status, 202);
    assert.equal((await remove(next.digest, { "if-match": `"${next.digest}"` })).status, 202);
  });

  it("lists tags and repositories in pages", async () => {
    const { manifest } = await registry.pushImage("library/paged", "b");
    for (const tag of ["a", "c", "B", "_x"]) {
      await expectStatus(
        await registry.send("PUT", `/v2/library/paged/manifests/${tag}`, { body: manifest, headers: { "content-type": OCI } }),
        201,
      );
    }
    const seen: string[] = [];
    let next: string | undefined = "/v2/library/paged/tags/list?n=2";
    while (next !== undefined) {
      const page: Response = await expectStatus(await registry.send("GET", next), 200);
      seen.push(...((await page.json()) as { tags: string[] }).tags);
      next = /<(.+)>; rel="next"/.exec(page.headers.get("link") ?? "")?.[1];
    }
    assert.deepEqual(seen, ["B", "_x", "a", "b", "c"]);
    const last = await registry.send("GET", "/v2/library/paged/tags/list?last=a");
    assert.deepEqual(await last.json(), { name: "library/paged", tags: ["b", "c"] });
    assert.deepEqual(await (await registry.send("GET", "/v2/library/paged/tags/list?n=0")).json(), { name: "library/paged", tags: [] });
    assert.equal(await codeOf(await registry.send("GET", "/v2/library/paged/tags/list?n=x")), "PAGE_INVALID");

    const catalog: string[] = [];
    next = "/v2/_catalog?n=1";
    while (next !== undefined) {
      const page: Response = await expectStatus(await registry.send("GET", next), 200);
      catalog.push(...((await page.json()) as { repositories: string[] }).repositories);
      next = /<(.+)>; rel="next"/.exec(page.headers.get("link") ?? "")?.[1];
    }
    assert.ok(catalog.includes("library/paged") && catalog.includes(REPO));
    assert.deepEqual(catalog, [...catalog].sort());
    assert.equal(new Set(catalog).size, catalog.length);
  });

  it("finds what refers to a subject, by type and in pages, and what older clients wrote into the referrers tag", async () => {
    await registry.pushBlob(REPO, Buffer.from("{}"));
    const { digest: subject, manifest } = await registry.pushImage(REPO, "subject");
    const refer = async (artifactType: string, annotation: string): Promise<string> => {
      const body = JSON.stringify({
        schemaVersion: 2,
        mediaType: OCI,
        artifactType,
        config: EMPTY_CONFIG,
        layers: [EMPTY_CONFIG],
        subject: { mediaType: OCI, digest: subject, size: manifest.length },
        annotations: { note: annotation },
      });
      const put = await expectStatus(await putManifest(body, sha256(body)), 201);
      assert.equal(put.headers.get("oci-subject"), subject);
      return sha256(body);
    };
    const signature = await refer("application/example.signature", "first");
    const sbom = await refer("application/example.sbom", "second");
    type Index = { manifests: { digest: string; artifactType: string; annotations: Record<string, string>; size: number }[] };
    const all = await expectStatus(await registry.send("GET", `/v2/${REPO}/referrers/${subject}`), 200);
    assert.equal(all.headers.get("content-type"), INDEX);
    const { manifests } = (await all.json()) as Index;
    assert.deepEqual(
      manifests.map((each) => each.digest),
      [signature, sbom],
    );
    assert.deepEqual(manifests[1]!.annotations, { note: "second" });
    assert.equal(manifests[1]!.artifactType, "application/example.sbom");
    const filtered = await registry.send("GET", `/v2/${REPO}/referrers/${subject}?artifactType=application/example.sbom`);
    assert.equal(filtered.headers.get("oci-filters-applied"), "artifactType");
    assert.deepEqual(
      ((await filtered.json()) as Index).manifests.map((each) => each.digest),
      [sbom],
    );
    const first = await registry.send("GET", `/v2/${REPO}/referrers/${subject}?n=1`);
    const link = /<(.+)>; rel="next"/.exec(first.headers.get("link")!)![1]!;
    assert.deepEqual(
      ((await (await registry.send("GET", link)).json()) as Index).manifests.map((each) => each.digest),
      [sbom],
    );
    assert.deepEqual(((await (await registry.send("GET", `/v2/${REPO}/referrers/${ABSENT}`)).json()) as Index).manifests, []);

    const old = await registry.pushImage(REPO, "old-signature");
    const entry = { mediaType: OCI, digest: old.digest, size: old.manifest.length, artifactType: "application/old" };
    const index = JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [entry, { ...entry, digest: signature }] });
    await expectStatus(await putManifest(index, subject.replace(":", "-"), { "content-type": INDEX }), 201);
    const merged = (await (await registry.send("GET", `/v2/${REPO}/referrers/${subject}`)).json()) as Index;
    assert.deepEqual(
      merged.manifests.map((each) => each.digest),
      [signature, sbom, old.digest],
    );
  });

  it("takes sparse and nested indexes, missing subjects, foreign layers; refuses what names absent blobs", async () => {
    const absentChild = { mediaType: OCI, digest: ABSENT, size: 5 };
    const sparse = JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [absentChild] });
    await expectStatus(await putManifest(sparse, "sparse", { "content-type": INDEX }), 201);
    const nested = JSON.stringify({
      schemaVersion: 2,
      mediaType: INDEX,
      manifests: [{ mediaType: INDEX, digest: sha256(sparse), size: sparse.length }],
    });
    await expectStatus(await putManifest(nested, "nested", { "content-type": INDEX }), 201);
    const foreign = {
      schemaVersion: 2,
      mediaType: OCI,
      config: EMPTY_CONFIG,
      layers: [
        { mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar", digest: ABSENT, size: 9, urls: ["https://example.com/x"] },
      ],
    };
    await expectStatus(await putManifest(foreign, "foreign"), 201);
    const missing = await putManifest({ ...foreign, layers: [{ mediaType: "application/x", digest: ABSENT, size: 9 }] }, "missing");
    assert.equal(missing.status, 404);
    assert.equal(await codeOf(missing), "MANIFEST_BLOB_UNKNOWN");
    assert.equal((await registry.send("HEAD", `/v2/${REPO}/manifests/missing`)).status, 404);
  });

  it("deletes no blob that a build cache or another maker's field names", async () => {
    const text = "a layer of a build cache";
    const blob = { digest: sha256(text), size: text.length };
    const add = async (): Promise<unknown> =>
      expectStatus(await registry.send("POST", `/v2/${REPO}/blobs/uploads/?digest=${blob.digest}`, { body: text }), 201);
    const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", ...blob };
    for (const body of [
      { schemaVersion: 2, mediaType: INDEX, manifests: [layer] },
      { schemaVersion: 2, mediaType: OCI, config: EMPTY_CONFIG, layers: [{ ...layer, urls: ["https://example.com/x"] }] },
      { schemaVersion: 2, mediaType: OCI, config: EMPTY_CONFIG, layers: [], "com.example": [{ base: blob.digest }] },
      // Not annotations, which are texts, but a field with that name.
      { schemaVersion: 2, mediaType: OCI, config: EMPTY_CONFIG, layers: [], "com.example": { annotations: [layer] } },
    ]) {
      await add();
      const pushed = await expectStatus(await putManifest(body, "cache", { "content-type": body.mediaType }), 201);
      const held = await registry.send("DELETE", `/v2/${REPO}/blobs/${blob.digest}`);
      assert.deepEqual([held.status, await codeOf(held)], [405, "UNSUPPORTED"]);
      await expectStatus(await registry.send("DELETE", `/v2/${REPO}/manifests/${pushed.headers.get("docker-content-digest")}`), 202);
      await expectStatus(await registry.send("DELETE", `/v2/${REPO}/blobs/${blob.digest}`), 202);
    }
  });

  it("deletes tag, manifest and blob at once, and never a blob that a manifest holds", async () => {
    const { digest, layerDigest } = await registry.pushImage(REPO, "gone");
    const held = await registry.send("DELETE", `/v2/${REPO}/blobs/${layerDigest}`);
    assert.equal(held.status, 405);
    await expectStatus(await registry.send("DELETE", `/v2/${REPO}/manifests/gone`), 202);
    assert.equal((await registry.send("GET", `/v2/${REPO}/manifests/gone`)).status, 404);
    await expectStatus(await registry.send("GET", `/v2/${REPO}/manifests/${digest}`), 200);
    await expectStatus(await registry.send("DELETE", `/v2/${REPO}/manifests/${digest}`), 202);
    assert.equal((await registry.send("GET", `/v2/${REPO}/manifests/${digest}`)).status, 404);
    await expectStatus(await registry.send("DELETE", `/v2/${REPO}/blobs/${layerDigest}`), 202);
    assert.equal((await registry.send("HEAD", `/v2/${REPO}/blobs/${layerDigest}`)).status, 404);
    assert.equal((await registry.send("DELETE", `/v2/${REPO}/blobs/${layerDigest}`)).status, 404);
  });

  describe("answers wrong input with the code that fits", () => {
    const upload = "00000000-0000-4000-8000-000000000000";
    const table: [string, string, number, string][] = [
      ["GET", "/v2/library/UPPER/manifests/x", 404, "NAME_UNKNOWN"],
      ["PUT", "/v2/library/UPPER/manifests/x", 400, "NAME_INVALID"],
      ["GET", "/v2/onesegment/manifests/x", 404, "MANIFEST_UNKNOWN"],
      ["GET", "/v2/library/none/manifests/x", 404, "MANIFEST_UNKNOWN"],
      ["GET", `/v2/${REPO}/manifests/-bad`, 404, "MANIFEST_UNKNOWN"],
      ["GET", `/v2/${REPO}/manifests/sha256:abc`, 400, "DIGEST_INVALID"],
      ["GET", `/v2/${REPO}/blobs/sha256:abc`, 400, "DIGEST_INVALID"],
      ["GET", `/v2/${REPO}/blobs/${ABSENT}`, 404, "BLOB_UNKNOWN"],
      ["GET", `/v2/${REPO}/blobs/uploads/${upload}`, 404, "BLOB_UPLOAD_UNKNOWN"],
      ["PATCH", `/v2/${REPO}/blobs/uploads/${upload}`, 404, "BLOB_UPLOAD_UNKNOWN"],
      ["PUT", `/v2/${REPO}/blobs/uploads/${upload}`, 400, "DIGEST_INVALID"],
      ["PUT", `/v2/${REPO}/blobs/uploads/${upload}?digest=${ABSENT}`, 404, "BLOB_UPLOAD_UNKNOWN"],
      ["POST", `/v2/${REPO}/blobs/uploads/?digest-algorithm=md5`, 400, "DIGEST_INVALID"],
      ["POST", `/v2/${REPO}/manifests/x`, 405, "UNSUPPORTED"],
      ["PUT", `/v2/${REPO}/manifests/-bad`, 400, "TAG_INVALID"],
      ["PUT", `/v2/${REPO}/manifests/x`, 400, "MANIFEST_INVALID"],
      ["DELETE", `/v2/${REPO}/manifests/none`, 404, "MANIFEST_UNKNOWN"],
      ["DELETE", `/v2/library/none/manifests/${ABSENT}`, 404, "NAME_UNKNOWN"],
      ["GET", "/v2/library/none/tags/list", 404, "NAME_UNKNOWN"],
      ["GET", "/v2/library/app/nothing/here", 404, "NAME_UNKNOWN"],
      ["GET", "/v2/%zz/x/manifests/y", 404, "NAME_UNKNOWN"],
      ["DELETE", "/v2/%zz/x/manifests/y", 400, "NAME_INVALID"],
      ["GET", `/v2/${"a/".repeat(5000)}manifests/y`, 414, "URI_TOO_LONG"],
    ];
    for (const [method, path, status, code] of table) {
      it(`${method} ${path.slice(0, 70)} is ${status} ${code}`, async () => {
        const answer = await registry.send(method, path);
        assert.equal(answer.status, status);
        assert.equal(await codeOf(answer), code);
      });
    }

    it("a manifest of more than 4 MiB is 413, one of just that is taken", async () => {
      await registry.pushBlob(REPO, Buffer.from("{}"));
      const frame = { schemaVersion: 2, mediaType: OCI, config: EMPTY_CONFIG, layers: [], annotations: { fill: "" } };
      const fill = 4 * 1024 * 1024 - JSON.stringify(frame).length;
      await expectStatus(await putManifest({ ...frame, annotations: { fill: "x".repeat(fill) } }, "large"), 201);
      const over = await putManifest({ ...frame, annotations: { fill: "x".repeat(fill + 1) } }, "larger");
      assert.equal(over.status, 413);
      assert.equal(await codeOf(over), "MANIFEST_TOO_LARGE");
    });

    it("manifests that are none, or two things at once, are MANIFEST_INVALID", async () => {
      const bodies: string[] = [
        "not json",
        "[]",
        "{}",
        JSON.stringify({ schemaVersion: 1, mediaType: OCI, config: EMPTY_CONFIG, layers: [] }),
        JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests: [] }),
        JSON.stringify({ schemaVersion: 2, mediaType: OCI, config: EMPTY_CONFIG, layers: [], manifests: [] }),
        JSON.stringify({ schemaVersion: 2, mediaType: OCI, config: { ...EMPTY_CONFIG, size: -1 }, layers: [] }),
        JSON.stringify({ schemaVersion: 2, mediaType: OCI, config: { ...EMPTY_CONFIG, size: 3 }, layers: [] }),
        JSON.stringify({ schemaVersion: 2, mediaType: OCI, config: EMPTY_CONFIG, layers: [{ digest: "sha256:zz", size: 1 }] }),
        `{"a":${"[".repeat(100_000)}`,
      ];
      for (const body of bodies) {
        const answer = await putManifest(body, "bad");
        assert.equal(answer.status, 400, body.slice(0, 100));
        assert.equal(await codeOf(answer), "MANIFEST_INVALID", body.slice(0, 100));
      }
      const other = await putManifest({ schemaVersion: 2, mediaType: OCI, config: EMPTY_CONFIG, layers: [] }, ABSENT);
      assert.equal(await codeOf(other), "DIGEST_INVALID");
    });
  });
});
