// Open uploads through the API: listed with owner and progress, and ended. Not here: permissions (access-matrix.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ENGINES } from "./engines.testing.ts";
import { expectStatus, startTestRegistry } from "./registry.testing.ts";

interface Page {
  readonly items: { id: string; repository: string; startedBy: string; receivedBytes: number; isActive: boolean }[];
  readonly next: string | null;
}

for (const engine of ENGINES) {
  describe(`uploads in the API on ${engine.name}`, { skip: engine.skip }, () => {
    it("are listed in pages, and end when an administrator ends them", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      const list = async (query = ""): Promise<Page> =>
        (await (await expectStatus(await registry.send("GET", `/api/v1/uploads${query}`), 200)).json()) as Page;
      const addresses: string[] = [];
      for (const repository of ["library/one", "library/two", "library/three"]) {
        const begun = await expectStatus(await registry.send("POST", `/v2/${repository}/blobs/uploads/`), 202);
        addresses.push(begun.headers.get("location")!);
      }
      await expectStatus(await registry.send("PATCH", addresses[1]!, { body: Buffer.alloc(50_000) }), 202);

      const first = await list("?limit=2");
      const rest = await list(`?limit=2&after=${first.next}`);
      const all = [...first.items, ...rest.items];
      assert.equal(rest.next, null);
      assert.deepEqual(
        new Set(all.map(({ repository, startedBy, receivedBytes, isActive }) => `${repository} ${startedBy} ${receivedBytes} ${isActive}`)),
        new Set(["library/one admin 0 false", "library/three admin 0 false", "library/two admin 50000 false"]),
      );
      const two = all.find(({ repository }) => repository === "library/two")!;
      assert.ok(addresses[1]!.includes(two.id));
      await expectStatus(await registry.send("DELETE", `/api/v1/uploads/${two.id}`), 204);
      assert.equal((await registry.send("PATCH", addresses[1]!, { body: "x" })).status, 404);
      assert.deepEqual((await list()).items.map(({ repository }) => repository).toSorted(), ["library/one", "library/three"]);
      const again = await registry.send("DELETE", `/api/v1/uploads/${two.id}`);
      assert.equal(((await again.json()) as { errors: { code: string }[] }).errors[0]!.code, "UPLOAD_UNKNOWN");
      assert.equal((await registry.send("GET", "/api/v1/uploads?after=nonsense")).status, 400);
    });

    it("are not there any more once their repository is deleted, under no name", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      const begun = await expectStatus(await registry.send("POST", "/v2/library/gone/blobs/uploads/"), 202);
      const [upload] = ((await (await expectStatus(await registry.send("GET", "/api/v1/uploads"), 200)).json()) as Page).items;
      assert.ok(begun.headers.get("location")!.includes(upload!.id));
      await expectStatus(await registry.send("DELETE", "/api/v1/projects/library/repositories/gone"), 204);
      assert.deepEqual(((await (await expectStatus(await registry.send("GET", "/api/v1/uploads"), 200)).json()) as Page).items, []);
      const ended = await expectStatus(await registry.send("DELETE", `/api/v1/uploads/${upload!.id}`), 404);
      assert.equal(((await ended.json()) as { errors: { code: string }[] }).errors[0]!.code, "UPLOAD_UNKNOWN");
    });
  });
}
