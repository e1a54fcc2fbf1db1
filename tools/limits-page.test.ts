// docs/guide/limits.md agrees with the code: defaults of settings, and fixed numbers.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { it } from "node:test";
import { listSettings } from "../apps/server/src/config-names.ts";
import { S3_DIALECTS } from "../apps/server/src/content/blobs/s3-dialects.ts";

const ROOT = dirname(import.meta.dirname);
const page = readFileSync(join(ROOT, "docs/guide/limits.md"), "utf8");
const [settable = "", fixed = ""] = page.split("## Fixed limits");

it("limits page: has every setting that is a limit of what clients do, with its default", () => {
  const settings = new Map(listSettings());
  const rows = new Map([...settable.matchAll(/^\| `([\w.]+)` \| (\S+) \|/gm)].map(([, path, value]) => [path!, value!]));
  for (const [path, value] of rows) assert.equal(settings.get(path)?.standard, value, path);
  const wanted = [...settings.keys()].filter((path) => path.startsWith("limits.") || /^http\.(?:\w*Seconds|minimum\w*|max\w*)$/.test(path));
  assert.deepEqual(
    wanted.filter((path) => !rows.has(path)),
    [],
  );
});

it("limits page: has the numbers that stand in the code", () => {
  const rows = [...fixed.matchAll(/^\| `(\w+)` \| ([^|]+) \| (\S+) \|/gm)];
  assert.ok(rows.length > 5);
  for (const [, name, value, file] of rows) {
    const source = readFileSync(join(ROOT, file!), "utf8");
    assert.ok(source.includes(`const ${name} = ${value!.trim()};`), `${name} in ${file} is not ${value}`);
  }
});

it("limits page: offers every dialect of S3 that the code has", () => {
  const { kind } = new Map(listSettings()).get("storage.s3.dialect")!;
  assert.deepEqual(kind.replace("one of ", "").split(", ").toSorted(), Object.keys(S3_DIALECTS).toSorted());
});
