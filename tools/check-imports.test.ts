// The import rule: every forbidden direction is found, every allowed one passes, in every form of import.
import assert from "node:assert/strict";
import { it } from "node:test";
import { findImportProblems, importsOf, LAYERS } from "./check-imports.ts";

const check = (file: string, specifier: string) => findImportProblems([[file, `import { x } from "${specifier}";\n`]]);

it("check imports: lets each layer import itself and those further in, and nothing further out", () => {
  for (const [i, from] of LAYERS.entries()) {
    for (const [j, to] of LAYERS.entries()) {
      if (to === "features") continue;
      const problems = check(`apps/server/src/${from}/a.ts`, `../${to}/b.ts`);
      assert.equal(problems.length, j < i ? 1 : 0, `${from} -> ${to}: ${problems.join()}`);
    }
    assert.deepEqual(check(`apps/server/src/${from}/deep/a.ts`, "@berth/oci/digest"), []);
    assert.deepEqual(check(`apps/server/src/${from}/a.ts`, "../config.ts"), []);
    for (const composing of ["compose.ts", "compose/content.ts", "roles/serve.ts"]) {
      assert.equal(check(`apps/server/src/${from}/a.ts`, `../${composing}`).length, 1);
    }
    assert.deepEqual(check("apps/server/src/compose.ts", `./${from}/a.ts`), []);
    assert.deepEqual(check("apps/server/src/compose/content.ts", `../${from}/a.ts`), []);
  }
  assert.equal(check("apps/server/src/platform/database/a.ts", "../../content/b.ts").length, 1);
  assert.equal(check("apps/server/src/config-load.ts", "./access/b.ts").length, 1);
});

it("check imports: opens a feature only at its door, and its routes to http", () => {
  const retention = "apps/server/src/features/retention/retention.ts";
  assert.deepEqual(check(retention, "./retention-store.ts"), []);
  assert.deepEqual(check(retention, "../projects/projects.ts"), []);
  assert.equal(check(retention, "../projects/project-store.ts").length, 1);
  assert.equal(check(retention, "../projects/projects-routes.ts").length, 1);
  assert.deepEqual(check("apps/server/src/http/api/routes.ts", "../../features/projects/projects-routes.ts"), []);
  assert.equal(check("apps/server/src/http/api/routes.ts", "../../features/projects/project-store.ts").length, 1);
  assert.equal(check("apps/server/src/distribution/pull.ts", "../features/projects/projects.ts").length, 1);
});

it("check imports: keeps apps and packages apart, and test code out of the product", () => {
  assert.equal(check("packages/oci/src/a.ts", "../../../apps/server/src/config.ts").length, 1);
  assert.equal(check("packages/oci/src/a.ts", "@berth/api/errors").length, 1);
  assert.deepEqual(check("packages/api/src/a.ts", "@berth/oci/errors"), []);
  assert.equal(check("apps/console/src/a.ts", "../../server/src/config.ts").length, 1);
  assert.equal(check("apps/server/src/platform/a.ts", "./databases.testing.ts").length, 1);
  assert.equal(check("apps/server/src/platform/a.ts", "../../../../test/tools/servers.ts").length, 1);
  assert.deepEqual(check("apps/server/src/platform/a.test.ts", "../http/server.ts"), []);
});

it("check imports: refuses folders that are in no layer", () => {
  assert.equal(check("apps/server/src/utils/a.ts", "../platform/clock.ts").length, 1);
  assert.equal(check("apps/server/src/http/a.ts", "../utils/b.ts").length, 1);
});

it("check imports: finds imports in every form, and none in comments", () => {
  const source = [
    'import "./effect.ts";',
    'import a, { type B } from "./a.ts";',
    "import {\n  one,\n  two,\n} from './many.ts';",
    'export { c } from "./c.ts";',
    'export * from "./d.ts";',
    'import type { E } from "./e.ts";',
    'const f = await import("./f.ts");',
    '// import { no } from "./comment.ts";',
    ' * import { no } from "./comment.ts";',
    'const text = "import nothing";',
    'export const other = "./text.ts";',
  ].join("\n");
  assert.deepEqual(importsOf(source).toSorted(), ["./a.ts", "./c.ts", "./d.ts", "./e.ts", "./effect.ts", "./f.ts", "./many.ts"]);
});
