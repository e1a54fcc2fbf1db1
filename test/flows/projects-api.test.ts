// What projects say of themselves, and how they are handed over, through the API. Not here: who may (access-matrix.test.ts), what is recorded
// (http/api/account-changes.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ENGINES } from "./engines.testing.ts";
import { startTestRegistry, type TestRegistry } from "./registry.testing.ts";

const PASSWORD = "projects-test-password";

/** `asked`: method and path. */
async function api(registry: TestRegistry, asked: string, body?: unknown, as?: string) {
  const [method = "", path = ""] = asked.split(" ");
  const headers: Record<string, string> = body === undefined ? {} : { "content-type": "application/json" };
  if (as !== undefined) headers["authorization"] = `Basic ${Buffer.from(`${as}:${PASSWORD}`).toString("base64")}`;
  const answer = await registry.send(method, `/api/v1${path}`, { headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  const text = await answer.text();
  return { status: answer.status, text, body: (text === "" ? {} : JSON.parse(text)) as Record<string, unknown> };
}

for (const engine of ENGINES) {
  describe(`projects on ${engine.name}`, { skip: engine.skip }, () => {
    it("say what they are for, whom to write to, and labels, each of which can be changed alone and taken back", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      const labels = [
        { key: "team", value: "blue" },
        { key: "cost/centre", value: "" },
      ];
      const made = await api(registry, "POST /projects", { name: "shop", description: "Goods", labels });
      assert.deepEqual([made.status, made.body["description"], made.body["contact"]], [201, "Goods", null]);
      assert.deepEqual(made.body["labels"], [labels[1], labels[0]]);
      await api(registry, "PATCH /projects/shop", { contact: "shop@example.com" });
      const shown = (await api(registry, "GET /projects/shop")).body;
      assert.deepEqual([shown["description"], shown["contact"], shown["visibility"]], ["Goods", "shop@example.com", "private"]);
      const changed = (await api(registry, "PATCH /projects/shop", { description: null, labels: [], visibility: "public" })).body;
      assert.deepEqual([changed["description"], changed["labels"], changed["visibility"]], [null, [], "public"]);
      const listed = (await api(registry, "GET /projects")).body["items"] as { name: string; contact: string | null }[];
      assert.deepEqual(
        listed.map(({ name, contact }) => [name, contact]),
        [
          ["library", null],
          ["shop", "shop@example.com"],
        ],
      );
      const twice = [labels[0], { key: "team", value: "red" }];
      const many = Array.from({ length: 33 }, (_, n) => ({ key: `k${n}`, value: "" }));
      for (const body of [
        { labels: twice },
        { labels: many },
        { description: "" },
        { labels: [{ key: "-", value: "" }] },
        { contact: "x".repeat(255) },
      ])
        assert.match((await api(registry, "PATCH /projects/shop", body)).text, /FIELD_INVALID/, JSON.stringify(body).slice(0, 80));
    });

    it("are handed over whole: the heir owns, the owner steps back, and nobody else can do it or be it", async (t) => {
      const registry = await startTestRegistry((await engine.make(t)).settings);
      t.after(() => registry.stop());
      for (const name of ["ann", "ben"]) await api(registry, "POST /users", { name, password: PASSWORD });
      await api(registry, "POST /projects", { name: "shop" });
      await api(registry, "POST /projects/shop/robots", { name: "ci", scopes: [{ repositories: "shop/**", actions: ["pull"] }] });
      const transfer = (body: object, as?: string) => api(registry, "POST /projects/shop/transfer", body, as);
      const roles = async () =>
        Object.fromEntries(
          ((await api(registry, "GET /projects/shop/members")).body["items"] as { user: string; role: string }[]).map(({ user, role }) => [
            user,
            role,
          ]),
        );
      assert.equal((await transfer({ to: "ann", role: null })).status, 200);
      assert.deepEqual(await roles(), { ann: "owner" });
      assert.equal((await transfer({ to: "ben" }, "ann")).status, 200);
      assert.deepEqual(await roles(), { ann: "maintainer", ben: "owner" });
      assert.match((await transfer({ to: "ann" }, "ann")).text, /DENIED/);
      for (const body of [{ to: "nobody" }, { to: "shop+ci" }])
        assert.match((await transfer(body, "ben")).text, /USER_UNKNOWN|FIELD_INVALID/);
      assert.match((await transfer({ to: "ben", from: "ann" }, "ben")).text, /MEMBER_UNKNOWN/);
      // To oneself: nothing changes, and there is always an owner.
      assert.equal((await transfer({ to: "ben", role: null }, "ben")).status, 200);
      assert.deepEqual(await roles(), { ann: "maintainer", ben: "owner" });
      // An administrator names who steps back.
      assert.equal((await transfer({ to: "ann", from: "ben", role: "guest" })).status, 200);
      assert.deepEqual(await roles(), { ann: "owner", ben: "guest" });
    });
  });
}
