// Blobs of projects that mirror another registry, over HTTP: they are given out while they come and are stored, and only as what was asked for.
// Not here: manifests, tags, lists and rights (upstream.test.ts), the fetch of one blob by itself (distribution/incoming-blobs.test.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { it } from "node:test";
import { codeOf, until } from "./engines.testing.ts";
import { AWAY, forEachMirror } from "./mirrors.testing.ts";
import { sha256, startTestRegistry, temporaryFolder } from "./registry.testing.ts";
import { imageOf, INDEX, OCI } from "./upstreams.testing.ts";

forEachMirror("blobs", (on) => {
  const { as, ask, get, bytesOf, asked, isStored, released, settled } = on;

  it("gives out what comes, stores it, and asks no more", async () => {
    const image = imageOf("v1", [randomBytes(1_000_000), randomBytes(3_000)]);
    const index = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: INDEX,
        manifests: [{ mediaType: OCI, digest: image.digest, size: image.bytes.length }],
      }),
    );
    await on.test.put(on.name, image.content);
    await on.test.put(on.name, { manifests: [{ bytes: index, mediaType: INDEX, tag: "all" }], blobs: [] });
    for (let round = 1; round <= 2; round++) {
      const all = await get("manifests/all");
      assert.equal(all.headers.get("docker-content-digest"), sha256(index));
      assert.equal(all.headers.get("content-type"), INDEX);
      assert.deepEqual(await bytesOf(all), index);
      assert.deepEqual(await bytesOf(await get(`manifests/${image.digest}`)), image.bytes);
      for (const blob of [image.config, ...image.layers]) {
        const answer = await get(`blobs/${sha256(blob)}`);
        assert.equal(answer.headers.get("content-length"), String(blob.length));
        assert.deepEqual(await bytesOf(answer), blob);
        await until("it is stored", () => isStored(`blobs/${sha256(blob)}`));
      }
      assert.equal(asked(/^GET manifests/), 2, on.test.asked.join());
      assert.equal(asked(/^GET blobs/), 3, on.test.asked.join());
    }
    // What was stored says who stored it: nobody in particular.
    const { items } = (await (await on.registry.send("GET", `/api/v1/repositories/hub/${on.name}/tags/all/history`)).json()) as {
      items?: { account?: string | null }[];
    };
    if (items !== undefined) assert.ok(items.every(({ account }) => (account ?? null) === null));
    // A range of what is here is one.
    on.test.fault = AWAY;
    const layer = image.layers[0]!;
    const part = await get(`blobs/${sha256(layer)}`, as("reader", { range: "bytes=10-19" }));
    assert.equal(part.status, 206);
    assert.deepEqual(Buffer.from(await part.arrayBuffer()), layer.subarray(10, 20));
    await released();
  });

  it("fetches a blob once for all who read it meanwhile, at their own pace", async () => {
    const blob = randomBytes(2_000_000);
    const { promise: until2, resolve: go } = Promise.withResolvers<void>();
    await on.test.put(on.name, { manifests: [], blobs: [blob] });
    on.test.fault = { on: /^GET blobs/, kind: "hold", afterBytes: 700_000, until: until2 };
    const path = `blobs/${sha256(blob)}`;
    const first = await get(path);
    const reader = first.body!.getReader();
    const got: Uint8Array[] = [];
    let gotBytes = 0;
    // All that has come is given out while the rest is waited for.
    while (gotBytes < 700_000) {
      const { value } = await reader.read();
      assert.ok(value, "it ended");
      got.push(value);
      gotBytes += value.length;
    }
    assert.equal(gotBytes, 700_000);
    const gone = await get(path);
    await gone.body!.cancel();
    const second = get(path).then(bytesOf);
    const part = get(path, as("reader", { range: "bytes=0-9" }));
    const parts = get(path, as("reader", { range: "bytes=0-9,1999990-1999999" }));
    const head = await ask("HEAD", path);
    assert.equal(head.headers.get("content-length"), "2000000");
    // A part waits until the whole is right.
    assert.equal(await Promise.race([part.then(() => "answered"), settled().then(() => "waits")]), "waits");
    go();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      got.push(value);
    }
    assert.deepEqual(Buffer.concat(got), blob);
    assert.deepEqual(await second, blob);
    assert.equal((await part).status, 206);
    assert.deepEqual(Buffer.from(await (await part).arrayBuffer()), blob.subarray(0, 10));
    assert.equal((await parts).status, 206);
    assert.ok(Buffer.from(await (await parts).arrayBuffer()).includes(blob.subarray(1_999_990)));
    assert.equal(asked(/^GET blobs/), 1);
    assert.equal(asked(/^HEAD blobs/), 0);
    await until("it is stored", () => isStored(path));
  });

  it("stores what nobody waits for any more", async () => {
    const blob = randomBytes(1_500_000);
    const { promise, resolve: go } = Promise.withResolvers<void>();
    await on.test.put(on.name, { manifests: [], blobs: [blob] });
    on.test.fault = { on: /^GET blobs/, kind: "hold", afterBytes: 1_000_000, until: promise };
    const path = `blobs/${sha256(blob)}`;
    await (await get(path)).body!.cancel();
    go();
    await until("it is stored", () => isStored(path));
    assert.equal(asked(/^GET blobs/), 1);
  });

  for (const [what, fault] of [
    ["is cut off", { kind: "cut", afterBytes: 500_000 }],
    ["has a wrong byte", { kind: "wrong" }],
  ] as const) {
    for (const size of [900_000, 20_000]) {
      it(`completes and stores no blob of ${size} bytes that ${what}`, async () => {
        const blob = randomBytes(size);
        await on.test.put(on.name, { manifests: [], blobs: [blob] });
        on.test.fault = { on: /^GET blobs/, ...(fault.kind === "cut" ? { kind: "cut", afterBytes: size / 2 } : fault) };
        const path = `blobs/${sha256(blob)}`;
        for (let tries = 1; tries <= 2; tries++) {
          // Before the answer has begun or in the middle of it, but never a whole one.
          const outcome = await get(path)
            .then(async (answer) => ({ status: answer.status, bytes: await answer.arrayBuffer() }))
            .catch(() => undefined);
          if (outcome !== undefined) assert.equal(outcome.status, 502);
          const part = await get(path, as("reader", { range: "bytes=0-9" }));
          assert.equal(await codeOf(part), "502 UPSTREAM_FAILED");
        }
        assert.equal(await isStored(path), false);
        assert.ok(on.log.some((line) => line.includes("an upstream registry gave no usable answer") && line.includes(sha256(blob))));
        on.test.fault = undefined;
        assert.deepEqual(await bytesOf(await get(path)), blob);
      });
    }
  }

  it("takes a blob of no announced length, and knows it before it answers", async () => {
    const blob = randomBytes(600_000);
    await on.test.put(on.name, { manifests: [], blobs: [blob] });
    on.test.fault = { on: /blobs/, kind: "unsized" };
    assert.equal((await ask("HEAD", `blobs/${sha256(blob)}`)).headers.get("content-length"), "600000");
    const answer = await get(`blobs/${sha256(blob)}`);
    assert.equal(answer.headers.get("content-length"), "600000");
    assert.deepEqual(await bytesOf(answer), blob);
  });

  it("answers a HEAD of a blob from its size alone", async () => {
    const blob = randomBytes(300_000);
    await on.test.put(on.name, { manifests: [], blobs: [blob, Buffer.alloc(0)] });
    const head = await ask("HEAD", `blobs/${sha256(blob)}`);
    assert.deepEqual(
      [head.status, head.headers.get("content-length"), head.headers.get("docker-content-digest")],
      [200, "300000", sha256(blob)],
    );
    assert.equal(asked(/^GET/), 0);
    assert.equal((await bytesOf(await get(`blobs/${sha256("")}`))).length, 0);
  });

  it("gives out what it cannot store", async () => {
    const image = imageOf("v1", [randomBytes(900_000), randomBytes(20)]);
    await on.test.put(on.name, image.content);
    on.isFull = true;
    for (let round = 1; round <= 2; round++) {
      assert.deepEqual(await bytesOf(await get("manifests/v1")), image.bytes);
      assert.equal((await ask("HEAD", "manifests/v1")).headers.get("docker-content-digest"), image.digest);
      for (const blob of [image.config, ...image.layers]) assert.deepEqual(await bytesOf(await get(`blobs/${sha256(blob)}`)), blob);
    }
    assert.ok(
      on.log.some((line) => /could not be stored; who asked for it gets it all the same/.test(line) && /no byte more fits/.test(line)),
    );
    assert.equal(await isStored(`manifests/${image.digest}`), false);
    on.isFull = false;
    for (const blob of image.layers) {
      // Who joins one that was not stored reads it all the same.
      await until("it is stored", async () => {
        assert.deepEqual(await bytesOf(await get(`blobs/${sha256(blob)}`)), blob);
        return isStored(`blobs/${sha256(blob)}`);
      });
    }
  });

  // The embedded database has one server.
  if (on.engine.name !== "sqlite") {
    it("come twice where two replicas are asked at once, and are right on both", async () => {
      const folder = await temporaryFolder();
      const other = await startTestRegistry({ ...on.settings, data: folder.path }, { ports: on.ports() });
      try {
        const image = imageOf("v1", [randomBytes(1_000_000), randomBytes(5_000)]);
        await on.test.put(on.name, image.content);
        const replicas = [on.registry, other];
        const pull = (path: string): Promise<Buffer[]> =>
          Promise.all(replicas.map(async (replica) => bytesOf(await replica.send("GET", `/v2/hub/${on.name}/${path}`, as("reader")))));
        assert.deepEqual(await pull("manifests/v1"), [image.bytes, image.bytes]);
        for (const blob of [image.config, ...image.layers]) {
          assert.deepEqual(await pull(`blobs/${sha256(blob)}`), [blob, blob]);
          await until("it is stored", () => isStored(`blobs/${sha256(blob)}`));
        }
        on.test.asked.length = 0;
        for (const blob of image.layers) assert.deepEqual(await pull(`blobs/${sha256(blob)}`), [blob, blob]);
        assert.equal(asked(/blobs/), 0);
      } finally {
        await other.stop();
        await folder.end();
      }
    });
  }
});
