// The search over HTTP: pages by `after`, words that cannot be searched for, and who sees nothing. Not here: what is found (the server's
// features/search/search.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { FoundView } from "@berth/api/search";
import { ENGINES } from "./engines.testing.ts";
import { startTestRegistry } from "./registry.testing.ts";

for (const engine of ENGINES) {
  describe(`search on ${engine.name}`, { skip: engine.skip }, () => {
    it("finds what was pushed, page by page, and nothing of it for a stranger", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      const ask = async (query: string, anonymous = false) => {
        const answer = await registry.send("GET", `/api/v1/search?${query}`, { anonymous });
        return { status: answer.status, text: await answer.text() };
      };
      const body = JSON.stringify({ name: "shop" });
      assert.equal(
        (await registry.send("POST", "/api/v1/projects", { body, headers: { "content-type": "application/json" } })).status,
        201,
      );
      const first = await registry.pushImage("shop/front", "v1.0", 1000);
      await registry.pushImage("shop/front", "v1.1", 1000);
      await registry.pushImage("library/shopping", "v1.0", 1000);
      const found: FoundView[] = [];
      let after = "";
      do {
        const page = await ask(`text=shop&limit=1${after}`);
        assert.equal(page.status, 200, page.text);
        const { items, next } = JSON.parse(page.text) as { items: FoundView[]; next: string | null };
        found.push(...items);
        after = next === null ? "" : `&after=${encodeURIComponent(next)}`;
      } while (after !== "");
      assert.deepEqual(
        found.map(({ kind, project, repository }) => [kind, project, repository]),
        [
          ["project", "shop", null],
          ["repository", "library", "library/shopping"],
          ["repository", "shop", "shop/front"],
        ],
      );
      const tags = (JSON.parse((await ask("text=v1.&kind=tag")).text) as { items: FoundView[] }).items;
      assert.deepEqual(
        tags.map(({ repository, tag }) => `${repository}:${tag}`),
        ["library/shopping:v1.0", "shop/front:v1.0", "shop/front:v1.1"],
      );
      assert.equal(tags[1]!.digest, first.digest);
      const byDigest = (JSON.parse((await ask(`text=${first.digest.slice(7, 27)}`)).text) as { items: FoundView[] }).items;
      assert.deepEqual(
        byDigest.map(({ kind, repository, digest }) => [kind, repository, digest]),
        [["digest", "shop/front", first.digest]],
      );
      const nothing = await ask("text=v1.1", true);
      assert.deepEqual([nothing.status, nothing.text], [200, '{"items":[],"next":null}']);
      for (const [query, code] of [
        ["", "FIELD_INVALID"],
        ["text=", "FIELD_INVALID"],
        ["text=a%20b", "FIELD_INVALID"],
        ["text=a%00", "FIELD_INVALID"],
        ["text=x&kind=user", "FIELD_INVALID"],
        ["text=x&limit=0", "FIELD_INVALID"],
        ["text=x&after=y", "PAGE_INVALID"],
        ["text=x&after=tag%20~y", "PAGE_INVALID"],
        ["text=x&kind=tag&after=project%20shop", "PAGE_INVALID"],
      ] as const)
        assert.ok((await ask(query)).text.includes(code), query);
    });
  });
}
