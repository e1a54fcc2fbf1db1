// Tags and manifests through the API, in a registry filled by real requests: lists with what people look for, one manifest in detail, the
// history of a tag, and deletion. Not here: permissions (access-matrix.test.ts), every form of a manifest (features/manifests).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ENGINES } from "./engines.testing.ts";
import { expectStatus, sha256, startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const IMAGE = "application/vnd.oci.image.manifest.v1+json";
const INDEX = "application/vnd.oci.image.index.v1+json";
const APP = "/api/v1/projects/library/repositories/app";

interface Listed {
  readonly items: Record<string, unknown>[];
  readonly next: string | null;
}

for (const engine of ENGINES) {
  describe(`tags and manifests in the API on ${engine.name}`, { skip: engine.skip }, () => {
    const get = async <T>(registry: TestRegistry, path: string): Promise<T> =>
      (await (await expectStatus(await registry.send("GET", path), 200)).json()) as T;
    const push = async (registry: TestRegistry, reference: string, manifest: object, type: string): Promise<string> => {
      const body = JSON.stringify(manifest);
      await expectStatus(
        await registry.send("PUT", `/v2/library/app/manifests/${reference}`, { body, headers: { "content-type": type } }),
        201,
      );
      return sha256(body);
    };

    it("show what a tag names, how large, for which platforms, when and by whom", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      const image = await registry.pushImage("library/app", "v1");
      const imageBytes = Buffer.byteLength(image.manifest);
      const platform = { os: "linux", architecture: "arm64", variant: "v8" };
      const gone = `sha256:${"1".repeat(64)}`;
      const index = await push(
        registry,
        "multi",
        {
          schemaVersion: 2,
          mediaType: INDEX,
          manifests: [
            { mediaType: IMAGE, digest: image.digest, size: imageBytes, platform },
            { mediaType: IMAGE, digest: gone, size: 7, platform: { os: "unknown", architecture: "unknown" } },
          ],
        },
        INDEX,
      );
      const signature = await push(
        registry,
        "sig",
        {
          schemaVersion: 2,
          mediaType: IMAGE,
          artifactType: "application/vnd.example.signature",
          config: { mediaType: "application/vnd.oci.empty.v1+json", digest: image.configDigest, size: 151 },
          layers: [],
          subject: { mediaType: IMAGE, digest: image.digest, size: imageBytes },
          annotations: { "org.example.note": "by hand" },
        },
        IMAGE,
      );

      const { items, next } = await get<Listed>(registry, `${APP}/tags`);
      assert.deepEqual(
        items.map(({ name, digest, platforms, pushedBy }) => ({ name, digest, platforms, pushedBy })),
        [
          { name: "multi", digest: index, platforms: [{ ...platform, osVersion: null }], pushedBy: "admin" },
          { name: "sig", digest: signature, platforms: [], pushedBy: "admin" },
          { name: "v1", digest: image.digest, platforms: [], pushedBy: "admin" },
        ],
      );
      assert.equal(next, null);
      const v1 = items[2]!;
      assert.equal(v1["sizeBytes"], imageBytes + image.layer.length + 151);
      assert.ok(Math.abs(Date.parse(String(v1["pushedAt"])) - Date.now()) < 600_000);

      const detail = await get<Record<string, unknown>>(registry, `${APP}/manifests/v1`);
      assert.deepEqual(detail["platform"], { os: "linux", architecture: "amd64", variant: null, osVersion: null });
      assert.deepEqual(detail["tags"], ["v1"]);
      assert.deepEqual(
        (detail["layers"] as { digest: string }[]).map(({ digest }) => digest),
        [image.layerDigest],
      );
      assert.deepEqual(
        (detail["referrers"] as { digest: string; artifactType: string }[]).map(({ digest, artifactType }) => [digest, artifactType]),
        [[signature, "application/vnd.example.signature"]],
      );
      assert.deepEqual(await get(registry, `${APP}/manifests/${image.digest}`), detail);
      const multi = await get<{ children: { digest: string; isPresent: boolean }[] }>(registry, `${APP}/manifests/multi`);
      assert.deepEqual(
        multi.children.map(({ digest, isPresent }) => [digest, isPresent]),
        [
          [image.digest, true],
          [gone, false],
        ],
      );
      const sig = await get<Record<string, unknown>>(registry, `${APP}/manifests/sig`);
      assert.equal((sig["subject"] as { digest: string }).digest, image.digest);
      assert.deepEqual(sig["annotations"], [{ name: "org.example.note", value: "by hand" }]);

      const ofType = await get<Listed>(registry, `${APP}/manifests?artifactType=application/vnd.example.signature`);
      assert.deepEqual(
        ofType.items.map(({ digest, tags, subject }) => [digest, tags, subject]),
        [[signature, ["sig"], image.digest]],
      );
    });

    it("list in pages, by prefix, and what has no tag any more; keep a tag's history; take away tags and manifests", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      const first = await registry.pushImage("library/app", "v1", 10);
      const second = await registry.pushImage("library/app", "v1", 10);
      for (const tag of ["v1.1", "v2", "Va"]) await push(registry, tag, JSON.parse(second.manifest) as object, IMAGE);

      const seen: unknown[] = [];
      for (let after: string | null = ""; after !== null;) {
        const page: Listed = await get(registry, `${APP}/tags?limit=2${after === "" ? "" : `&after=${after}`}`);
        seen.push(...page.items.map(({ name }) => name));
        after = page.next;
      }
      assert.deepEqual(seen, ["Va", "v1", "v1.1", "v2"]);
      assert.deepEqual(
        (await get<Listed>(registry, `${APP}/tags?prefix=v1`)).items.map(({ name }) => name),
        ["v1", "v1.1"],
      );
      assert.deepEqual(
        (await get<Listed>(registry, `${APP}/manifests?isTagged=false`)).items.map(({ digest }) => digest),
        [first.digest],
      );
      assert.deepEqual(
        (await get<Listed>(registry, `${APP}/manifests?isTagged=true`)).items.map(({ digest, tags }) => [digest, tags]),
        [[second.digest, ["Va", "v1", "v1.1", "v2"]]],
      );

      await expectStatus(await registry.send("DELETE", `${APP}/tags/v1`), 204);
      const history = await get<Listed>(registry, `${APP}/tags/v1/history?limit=2`);
      assert.deepEqual(
        history.items.map(({ digest, by }) => [digest, by]),
        [
          [null, "admin"],
          [second.digest, "admin"],
        ],
      );
      const older = await get<Listed>(registry, `${APP}/tags/v1/history?after=${history.next}`);
      assert.deepEqual([older.items.map(({ digest }) => digest), older.next], [[first.digest], null]);
      assert.equal((await registry.send("GET", `${APP}/tags/v1/history?after=zero`)).status, 400);

      await expectStatus(await registry.send("DELETE", `${APP}/manifests/${second.digest}`), 204);
      assert.deepEqual((await get<Listed>(registry, `${APP}/tags`)).items, []);
      for (const [method, path] of [
        ["DELETE", `${APP}/tags/v1`],
        ["DELETE", `${APP}/manifests/${second.digest}`],
        ["GET", `${APP}/manifests/${second.digest}`],
        ["GET", `${APP}/manifests/v1`],
      ] as const) {
        const answer = await registry.send(method, path);
        const { errors } = (await answer.json()) as { errors: { code: string }[] };
        assert.deepEqual([answer.status, errors[0]!.code], [404, "MANIFEST_UNKNOWN"], `${method} ${path}`);
      }
      // It still exists by digest: only its tag was deleted.
      await expectStatus(await registry.send("GET", `${APP}/manifests/${first.digest}`), 200);
    });
  });
}
