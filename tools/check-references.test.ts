// Files that comments and pages name exist.
import assert from "node:assert/strict";
import { it } from "node:test";
import { findMissing, namesIn } from "./check-references.ts";

it("check references: finds the names in a line, and not what only looks like one", () => {
  assert.deepEqual(namesIn("Not here: rows (access/member-store.ts), v2/routes.ts and README.md."), [
    "access/member-store.ts",
    "v2/routes.ts",
    "README.md",
  ]);
  assert.deepEqual(namesIn("`features/*/…-routes.ts`, https://example.org/a.md, name.test.ts, paths.tsx"), []);
});

it("check references: looks for them from the file's own folder, the sources and the root, and without a folder anywhere", () => {
  const known = new Set(["apps/server/src/access/tokens.ts", "apps/server/src/access/seal.ts", "docs/glossary.md"]);
  const check = (text: string) => findMissing([["apps/server/src/access/tokens.ts", text]], known);
  assert.deepEqual(check("// Not here: sealing (seal.ts), words (docs/glossary.md), access/seal.ts."), []);
  assert.deepEqual(check("const path = 'gone/away.ts';\n"), []);
  assert.deepEqual(check("// Not here: what is gone (gone.ts).\n * access/gone.ts"), [
    "apps/server/src/access/tokens.ts:1: there is no gone.ts",
    "apps/server/src/access/tokens.ts:2: there is no access/gone.ts",
  ]);
});

it("check references: a page may name the files that it tells its reader to make", () => {
  const page = (text: string) => findMissing([["docs/guide/a.md", text]], new Set(["docs/guide/a.md"]));
  assert.deepEqual(page("New file `packages/api/src/made.ts`:\n\nSee made.ts.\n"), []);
  assert.deepEqual(page("The file `packages/api/src/made.ts`.\n"), ["docs/guide/a.md:1: there is no packages/api/src/made.ts"]);
});
