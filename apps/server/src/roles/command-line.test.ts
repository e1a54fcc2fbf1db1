// Words and options become a role, or a problem: no option is accepted and then ignored. Not here: the roles (test/flows).
import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseCommandLine, type CommandLine } from "./command-line.ts";

function problemOf(line: string): string {
  const parsed: CommandLine = parseCommandLine(line.split(" "));
  assert.ok(!parsed.ok, line);
  return parsed.problem;
}

describe("the command line", () => {
  it("names a role, its place and its options", () => {
    assert.deepEqual(parseCommandLine([]), { ok: true, role: "serve", place: "", options: {} });
    const pruning = parseCommandLine("backup prune s3://b/p --keep 3 --dry-run".split(" "));
    assert.ok(pruning.ok);
    assert.deepEqual([pruning.role, pruning.place], ["backup prune", "s3://b/p"]);
    assert.deepEqual({ ...pruning.options }, { keep: "3", "dry-run": true });
    const backup = parseCommandLine(["backup", "prune-me"]);
    assert.ok(backup.ok);
    assert.deepEqual([backup.role, backup.place], ["backup", "prune-me"]);
  });

  it("refuses an option of another role", () => {
    const wrongs = [
      "migrate --dry-run",
      "migrate --check",
      "serve --to 3",
      "serve --dry-run",
      "work --no-jobs",
      "gc --check",
      "backup somewhere --dry-run",
      "backup prun --keep 1",
      "restore somewhere --dry-run",
      "restore somewhere --yes",
      "doctor --dry-run",
      "doctor --yes --repair",
      "config check --json",
    ];
    for (const line of wrongs) assert.match(problemOf(line), /^`.+` has no option --/);
    assert.equal(problemOf("serve --deep"), "`serve` has no option --deep: it is one of `doctor`");
    assert.equal(problemOf("doctor --yes"), "`doctor` has no option --yes: it is one of `migrate`, `backup prune` and `store adopt`");
  });

  it("refuses to run a round of collection that was to be explained", () => {
    for (const line of ["gc --limit 1", "gc --json", "gc --digest sha256:1"])
      assert.match(problemOf(line), /goes with `gc --dry-run` only/);
  });

  it("refuses what is no option or role, and a missing place", () => {
    assert.equal(problemOf("gc --dryrun"), "there is no option --dryrun; did you mean --dry-run?");
    assert.equal(problemOf("serve --lissten :5000"), "there is no option --lissten; did you mean --listen?");
    assert.equal(problemOf("serve --publicUrl https://r"), "there is no option --publicUrl; did you mean --http.publicUrl?");
    assert.equal(problemOf("serve --xyzzyxyzzy=1"), "there is no option --xyzzyxyzzy");
    assert.equal(problemOf("serve -p 5000"), "there is no option -p");
    assert.match(problemOf("serve --no-jobs=true"), /--no-jobs/);
    assert.match(problemOf("migrate --to"), /--to/);
    assert.equal(problemOf("migrat"), "there is no role `migrat`; did you mean migrate?");
    assert.match(problemOf("backup a b"), /there is no role/);
    for (const line of ["backup lst", "backup prun", "backup lists"]) assert.match(problemOf(line), /did you mean backup (?:list|prune)\?/);
    for (const line of ["backup ./lst", "backup /mnt/list", "backup berth"]) assert.ok(parseCommandLine(line.split(" ")).ok, line);
    for (const line of ["backup", "backup list", "backup prune", "restore"]) assert.match(problemOf(line), /needs a place/);
  });
});
