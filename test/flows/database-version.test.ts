// A database that is migrated to another version under running servers: they write nothing to it, log that once, become unready, continue
// with pulls, and recover by themselves. Not here: the previous release (test/versions).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { LATEST_MIGRATION } from "../../apps/server/src/platform/database/migrate.ts";
import { RELEASED } from "../../apps/server/src/platform/database/migrations/all.ts";
import { codeOf, ENGINES, flagsOf, until } from "./engines.testing.ts";
import { expectCode } from "./program.testing.ts";
import { startTestRegistry } from "./registry.testing.ts";

const REFUSED = "503 DATABASE_VERSION";
const OLDEST = RELEASED[0]!.version;
const ERROR_LEVEL = 50;

for (const engine of ENGINES) {
  describe(`on ${engine.name}`, { skip: engine.skip }, () => {
    it("writes nothing to a database that was taken back, goes on with pulls, and comes back when it comes up again", async (t) => {
      const one = await engine.make(t);
      const lines: { readonly level: number; readonly msg: string; readonly err?: { readonly code?: string } }[] = [];
      const registry = await startTestRegistry(one.settings, { jobs: true, onLog: (line) => void lines.push(JSON.parse(line)) });
      t.after(() => registry.stop());
      const errors = () => lines.filter(({ level }) => level >= ERROR_LEVEL);
      const readiness = async (): Promise<{ status: number; body: { checks: { database: string } } }> => {
        const answer = await registry.send("GET", "/readyz", { anonymous: true });
        return { status: answer.status, body: (await answer.json()) as { checks: { database: string } } };
      };
      const before = await registry.pushImage("library/app", "v1");
      const put = () =>
        registry.send("PUT", "/v2/library/app/manifests/v2", {
          body: before.manifest,
          headers: { "content-type": "application/vnd.oci.image.manifest.v1+json" },
        });

      // A push while the tables change under the server gets one of two answers.
      let isOver = false;
      const answers = new Set<string>();
      const pushing = (async () => {
        while (!isOver) {
          const answer = await put();
          answers.add(answer.status === 201 ? "201" : await codeOf(answer));
        }
      })();
      await expectCode(0, ["migrate", "--to", String(OLDEST), "--yes", ...flagsOf(one.settings)]);
      await until("not ready", async () => (await readiness()).status === 503);
      isOver = true;
      await pushing;
      for (const answer of answers) assert.ok(answer === "201" || answer === REFUSED, [...answers].join(", "));

      assert.equal((await readiness()).body.checks.database, "DATABASE_VERSION");
      for (const refused of [
        await put(),
        await registry.send("POST", "/v2/library/app/blobs/uploads/"),
        await registry.send("DELETE", "/v2/library/app/manifests/v1"),
        await registry.send("POST", "/api/v1/projects", {
          body: JSON.stringify({ name: "later" }),
          headers: { "content-type": "application/json" },
        }),
      ]) {
        assert.match(refused.headers.get("retry-after") ?? "", /^[1-9]\d*$/);
        assert.equal(await codeOf(refused), REFUSED);
      }
      const pulled = await registry.send("GET", "/v2/library/app/manifests/v1");
      assert.equal(await pulled.text(), before.manifest);
      const blob = await registry.send("GET", `/v2/library/app/blobs/${before.layerDigest}`);
      assert.deepEqual(Buffer.from(await blob.arrayBuffer()), before.layer);
      assert.equal((await registry.send("GET", "/healthz", { anonymous: true })).status, 200);
      assert.deepEqual(
        errors().map(({ msg, err }) => [err?.code, msg]),
        [["DATABASE_VERSION", "the database is not at this program's version any more: nothing is written to it"]],
      );

      await expectCode(0, ["migrate", ...flagsOf(one.settings)]);
      await until("ready", async () => (await readiness()).status === 200);
      await registry.pushImage("library/app", "v3");
      await registry.pushBlob("library/app", randomBytes(100_000));
      // The table of repeating jobs was gone meanwhile.
      const kinds = ["dispatch", "key-rotation", "older-manifests", "repository-removal", "usage-folding"];
      await until(
        "jobs repeat",
        async () => {
          const rows = await one.sql("select distinct kind from job where state <> 'failed'");
          return kinds.every((kind) => rows.some((row) => row["kind"] === kind));
          // An idle runner checks for missing repeating jobs once a minute.
        },
        180_000,
      );
      assert.equal(errors().length, 1, JSON.stringify(errors()));
      assert.ok(lines.some(({ msg }) => msg === "the database is this registry's, and at this program's version, again"));
    });

    it("writes nothing to a database that a newer program has taken beyond it", async (t) => {
      const one = await engine.make(t);
      const registry = await startTestRegistry(one.settings);
      t.after(() => registry.stop());
      const next = LATEST_MIGRATION + 1;
      const record = (oldest: number) =>
        one.sql(`insert into migration (id, name, applied_at, oldest_program) values (${next}, 'later', 0, ${oldest})`);
      const readiness = async (): Promise<number> => (await registry.send("GET", "/readyz", { anonymous: true })).status;
      const begin = () => registry.send("POST", "/v2/library/app/blobs/uploads/");
      // A version that allows this program to run.
      await record(LATEST_MIGRATION);
      await registry.pushBlob("library/app", randomBytes(100_000));
      assert.equal(await readiness(), 200);
      await one.sql(`delete from migration where id = ${next}`);
      await record(next);
      await until("not ready", async () => (await readiness()) === 503);
      assert.equal(await codeOf(await begin()), REFUSED);
      await one.sql(`delete from migration where id = ${next}`);
      await until("ready", async () => (await readiness()) === 200);
      assert.equal((await begin()).status, 202);
    });
  });
}
