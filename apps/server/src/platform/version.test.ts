// The version is written in several places for different readers: all must be equal. Not here: programs of several versions on one database
// (test/versions).
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { it } from "node:test";
import { VERSION } from "./version.ts";

const read = (name: string): Promise<string> => readFile(new URL(`../../../../${name}`, import.meta.url), "utf8");

interface PackageFile {
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly packages?: Readonly<Record<string, { readonly version?: string }>>;
}

it("version: is the same in every package, in the lock and in the program", async () => {
  const folders = ["", "apps/server", "packages/api", "packages/oci"];
  const lock = JSON.parse(await read("package-lock.json")) as PackageFile;
  for (const folder of folders) {
    const file = JSON.parse(await read(`${folder}/package.json`)) as PackageFile;
    assert.equal(file.version, VERSION, folder);
    assert.equal(lock.packages?.[folder]?.version, VERSION, folder);
    for (const [name, version] of Object.entries(file.dependencies ?? {})) if (name.startsWith("@berth/")) assert.equal(version, VERSION);
  }
});

it("version: comes after the changelog's newest release, unless it is that release", async () => {
  const changelog = await read("CHANGELOG.md");
  const newest = /^## \[(\d+\.\d+\.\d+)\]/m.exec(changelog)![1]!;
  if (VERSION === newest) return assert.doesNotMatch(changelog, /^## \[Unreleased\]/m);
  assert.match(changelog, /^## \[Unreleased\]/m);
  assert.match(VERSION, /^\d+\.\d+\.\d+-dev$/);
  assert.equal(VERSION.replace("-dev", "").localeCompare(newest, "en", { numeric: true }), 1);
});
