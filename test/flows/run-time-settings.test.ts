// Settings that are changed at run time: the effect of each on a running server, and that the configuration has the last word. Not here:
// how replicas notice a change (apps/server/src/features/settings/settings.test.ts).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ENGINES } from "./engines.testing.ts";
import { startTestRegistry } from "./registry.testing.ts";

const json = (body: unknown) => ({ body: JSON.stringify(body), headers: { "content-type": "application/json" } });

for (const engine of ENGINES) {
  describe(`on ${engine.name}`, { skip: engine.skip }, () => {
    it("changes the log's level while it runs, keeps it over a restart, and lets the configuration overrule it", async (t) => {
      const one = await engine.make(t);
      const start = async (more: Readonly<Record<string, string>> = {}) => {
        const lines: string[] = [];
        const registry = await startTestRegistry({ ...one.settings, ...more }, { onLog: (line) => void lines.push(line) });
        return { lines, registry };
      };
      const levelOf = async (registry: Awaited<ReturnType<typeof start>>["registry"]) => {
        const answer = await registry.send("GET", "/api/v1/settings");
        assert.equal(answer.status, 200);
        const { items } = (await answer.json()) as { items: { path: string; value: string; source: string; fixedBy: string | null }[] };
        return items.find(({ path }) => path === "log.level")!;
      };
      const first = await start();
      t.after(() => first.registry.stop());
      assert.equal((await levelOf(first.registry)).fixedBy, null);
      const writes = async (): Promise<number> => {
        const before = first.lines.length;
        await first.registry.send("POST", "/api/v1/projects", json({ name: `p${before}-${Math.floor(performance.now())}` }));
        return first.lines.slice(before).filter((line) => line.includes('"change"')).length;
      };
      assert.equal(await writes(), 1);
      assert.equal((await first.registry.send("PATCH", "/api/v1/settings", json({ "log.level": "warn" }))).status, 200);
      assert.equal(await writes(), 0);
      assert.equal((await first.registry.send("PATCH", "/api/v1/settings", json({ "log.level": "loud" }))).status, 400);
      await first.registry.stop();
      const second = await start();
      assert.deepEqual((({ value, source }) => [value, source])(await levelOf(second.registry)), ["warn", "api"]);
      await second.registry.stop();
      const third = await start({ "log.level": "info" });
      t.after(() => third.registry.stop());
      const level = await levelOf(third.registry);
      assert.deepEqual([level.value, level.source], ["info", "configuration"]);
    });

    it("lets every user create projects while it says so, and nobody but administrators before and after", async (t) => {
      const one = await engine.make(t);
      const registry = await startTestRegistry(one.settings);
      t.after(() => registry.stop());
      const password = "a long password";
      assert.equal((await registry.send("POST", "/api/v1/users", json({ name: "una", password }))).status, 201);
      const authorization = `Basic ${Buffer.from(`una:${password}`).toString("base64")}`;
      const create = async (name: string): Promise<number> => {
        const { body, headers } = json({ name });
        return (await registry.send("POST", "/api/v1/projects", { body, headers: { ...headers, authorization } })).status;
      };
      const set = async (value: string | null): Promise<void> =>
        assert.equal((await registry.send("PATCH", "/api/v1/settings", json({ "projects.creation": value }))).status, 200);
      assert.equal(await create("early"), 403);
      await set("everyone");
      assert.equal(await create("mine"), 201);
      const mine = await registry.send("GET", "/api/v1/projects/mine", { headers: { authorization } });
      assert.equal(((await mine.json()) as { role: string }).role, "owner");
      await set(null);
      assert.equal(await create("late"), 403);
    });
  });
}
