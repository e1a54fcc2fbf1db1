// Every command exits with 64 for an impossible request, before it reads anything. Not here: unknown words and options
// (roles/command-line.test.ts), settings (config.test.ts).
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { it } from "node:test";
import { runProgram } from "./program.testing.ts";
import { temporaryFolder } from "./registry.testing.ts";

/** The command line, and what the message names. */
const WRONG: readonly (readonly [readonly string[], RegExp])[] = [
  [["migrate", "--to", "x"], /--to x/],
  [["migrate", "--to=-1"], /--to/],
  [["migrate", "--to", "2"], /--to 2 is no release/],
  [["migrate", "--to="], /--to/],
  [["migrate", "--too", "3"], /--to/],
  [["gc", "--dry-run", "--limit", "x"], /--limit/],
  [["gc", "--dry-run", "--limit", "0"], /--limit/],
  [["gc", "--dry-run", "--limit="], /--limit/],
  [["gc", "--dry-run", "--digest", "sha256:1"], /--digest/],
  [["gc", "--dry-run", "--digest="], /--digest/],
  [["gc", "--limit", "3"], /--limit/],
  [["doctor", "--rate", "fast"], /--rate/],
  [["doctor", "--rate="], /--rate/],
  [["doctor", "--from", "b"], /--from/],
  [["doctor", "--from="], /--from/],
  [["backup"], /needs a place/],
  [["backup", ""], /a place is/],
  [["backup", "s4://bucket/x"], /s4:/],
  [["backup", "s3://bucket/x?endpoint=me"], /endpoint/],
  [["backup", "list", "s3://b"], /s3:/],
  [["backup", "prune", "there"], /--keep/],
  [["backup", "prune", "there", "--keep", "0"], /--keep is/],
  [["backup", "prune", "there", "--keep="], /--keep is/],
  [["backup", "prune", "there", "--keep-days", "1.5"], /--keep-days is/],
  [["restore", "there", "--at", "yesterday"], /--at yesterday/],
  [["restore", "there", "--at="], /--at/],
  [["restore", "there", "--at", "2026-11-23", "--snapshot", "s"], /either/],
  [["restore", "there", "--signed", "--unsigned"], /either/],
  [["account", "resett"], /account/],
  [["serve", "here"], /role/],
];

it("wrong usage: ends with 64 for what cannot be meant, in one sentence, and makes nothing", async (t) => {
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  for (const [args, named] of WRONG) {
    const { code, stdout, stderr } = await runProgram([...args, `--data=${folder.path}`]);
    assert.equal(code, 64, `${args.join(" ")}: ${code} ${stderr}`);
    assert.match(stderr, named, args.join(" "));
    assert.doesNotMatch(stderr, /\n {4}at /, args.join(" "));
    assert.equal(stdout, "", args.join(" "));
  }
  assert.deepEqual(await readdir(folder.path), []);
});
