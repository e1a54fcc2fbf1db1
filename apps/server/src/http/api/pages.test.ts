// Pages of the control plane's lists end by bytes as well as by rows, and lead to everything once. Not here: what a list may show
// (api.test.ts, repositories.test.ts), what a request for one may examine (features/repositories/list-effort.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { addProject, addRobot, addUser, createTestClock, TEST_PASSWORD } from "../../access/access.testing.ts";
import type { Action } from "../../access/caller.ts";
import { listed } from "../../features/paging.ts";
import { forEachDatabase, type TestDatabase } from "../../platform/database/databases.testing.ts";
import { startTestApi, type TestApi } from "./api.testing.ts";

const MAX_PAGE_BYTES = 1024 * 1024;
/** What surrounds the items. */
const FRAME_BYTES = 200;

forEachDatabase("pages of the control plane", (create) => {
  let test: TestDatabase;
  let api: TestApi;
  const admin = ["admin", TEST_PASSWORD] as const;
  const robots = 70;

  before(async () => {
    test = await create();
    api = await startTestApi(test.database, createTestClock());
    await addUser(test.database, "admin", { isAdmin: true });
    const project = await addProject(test.database, "many");
    for (let i = 0; i < robots; i++) {
      const own = `many+r${String(i).padStart(3, "0")}`;
      // The most and longest that a robot may have, but for some with one.
      const scopes = Array.from({ length: i % 7 === 3 ? 1 : 100 }, (_, at): [string, Action[]] => [
        `many/${"x".repeat(230)}${String(at).padStart(4, "0")}/${"y".repeat(10)}`,
        ["pull", "push", "delete"],
      ]);
      await addRobot(test.database, own, project, Object.fromEntries(scopes));
      await addRobot(test.database, own.slice("many".length), undefined, Object.fromEntries(scopes));
    }
  });
  after(async () => {
    await api.end();
    await test.end();
  });

  it("end by bytes, each robot once and whole", async () => {
    for (const path of ["/projects/many/robots", "/robots"]) {
      for (const limit of [1, 50, 200]) {
        const seen: string[] = [];
        let pages = 0;
        let next: string | null = "";
        while (next !== null) {
          const { status, body } = await api.call(admin, "GET", `${path}?limit=${limit}${next === "" ? "" : `&after=${next}`}`);
          assert.equal(status, 200);
          assert.ok(body.items.length > 0 && body.items.length <= limit);
          assert.ok(Buffer.byteLength(JSON.stringify(body)) <= MAX_PAGE_BYTES + FRAME_BYTES);
          for (const { name, scopes } of body.items) {
            assert.equal(scopes.length, seen.length % 7 === 3 ? 1 : 100);
            seen.push(name);
          }
          next = body.next as string | null;
          pages++;
        }
        assert.deepEqual(
          seen,
          Array.from({ length: robots }, (_, i) => `r${String(i).padStart(3, "0")}`),
        );
        if (limit === 200) assert.ok(pages >= 2, `${pages} pages`);
      }
    }
  });

  it("have one item at least, whatever its size, go on behind what is gone, and ask for parts in batches", async () => {
    const rows = Array.from({ length: 30 }, (_, i) => ({
      key: String(i),
      bytes: i % 10 === 0 ? 2 * MAX_PAGE_BYTES : 1000,
      isGone: i % 4 === 1,
    }));
    for (const [limit, batch] of [
      [1, 1],
      [7, 3],
      [30, 4],
      [30, 30],
    ] as const) {
      const seen: string[] = [];
      let from: string | null = "-1";
      while (from !== null) {
        const start: number = Number(from) + 1;
        const page: { items: { key: string; text: string }[]; next: string | null } = await listed(
          rows.slice(start, start + limit + 1),
          limit,
          (some) => {
            assert.ok(some.length <= batch);
            return some.map(({ key, bytes, isGone }) => (isGone ? undefined : { key, text: "x".repeat(bytes) }));
          },
          (row) => row.key,
          batch,
        );
        assert.ok(page.items.length <= 1 || Buffer.byteLength(JSON.stringify(page.items)) <= MAX_PAGE_BYTES + FRAME_BYTES);
        seen.push(...page.items.map(({ key }) => key));
        from = page.next;
      }
      assert.deepEqual(
        seen,
        rows.filter(({ isGone }) => !isGone).map(({ key }) => key),
      );
    }
  });
});
