// The counting rules of the test runner and its reporter: no failure may be counted as a success.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import type { TestCounts } from "../test/tools/count-reporter.ts";
import { closingLine, unexcusedSkips, parseCounts } from "./run-tests.ts";

/** Runs a test file of that text under the reporter. */
async function countsOf(text: string): Promise<TestCounts> {
  const folder = await mkdtemp(join(tmpdir(), "berth-test-counts-"));
  try {
    await writeFile(join(folder, "sample.test.ts"), text);
    const reporter = join(import.meta.dirname, "../test/tools/count-reporter.ts");
    // Under NODE_TEST_CONTEXT a nested runner reports to its parent instead of to the reporter.
    const { NODE_TEST_CONTEXT: _context, ...env } = process.env;
    const args = ["--test", `--test-reporter=${reporter}`, "sample.test.ts"];
    const output = await new Promise<string>((resolve) => {
      // The exit code is ignored: most samples fail on purpose.
      execFile(process.execPath, args, { cwd: folder, env }, (_error, stdout) => resolve(stdout));
    });
    return parseCounts(output);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const preamble = 'import test, { before, describe } from "node:test";\n';

test("run tests: passes, failures, skips with their reasons, and todos are counted apart", async () => {
  const counts = await countsOf(`${preamble}
    test("one", async (t) => { await t.test("inner", () => {}); });
    test("two", () => { throw new Error("broken"); });
    test("three", (t) => t.skip("no tool"));
    test("four", { todo: true }, () => { throw new Error("later"); });`);
  assert.deepEqual({ passed: counts.passed, failed: counts.failed, skipped: counts.skipped }, { passed: 2, failed: 1, skipped: 2 });
  assert.deepEqual(counts.skips[0], { name: "three", reason: "no tool" });
});

test("a skipped describe is counted, although node counts no test in it", async () => {
  const counts = await countsOf(`${preamble}
    describe("whole", { skip: "not today" }, () => { test("inside", () => {}); });`);
  assert.equal(counts.skipped, 1);
  assert.equal(counts.skips[0]?.reason, "not today");
});

test("a failing hook, a crash and a file that does not parse are failures", async () => {
  const samples = [
    `${preamble}describe("d", () => { before(() => { throw new Error("no"); }); test("t", () => {}); });`,
    "process.exit(3);",
    "const = ;",
  ];
  for (const sample of samples) {
    const counts = await countsOf(sample);
    assert.ok(counts.failed > 0, `${sample}: ${JSON.stringify(counts)}`);
  }
});

test("a runner that wrote no counts failed", () => {
  assert.equal(parseCounts("").failed, 1);
});

test("run tests: only a skip that this machine or this suite could not help is excused", () => {
  const unexcused = (reason: string) => unexcusedSkips({ skips: [{ name: "x", reason }], provided: ["BERTH_TEST_S3"] }).length;
  assert.equal(unexcused("flaky"), 1);
  assert.equal(unexcused(""), 1);
  assert.equal(unexcused("cannot run here: dockerd: needs root"), 0);
  assert.equal(unexcused("../shared/testdata is absent"), 0);
  assert.equal(unexcused("BERTH_TEST_POSTGRES_URL is not set"), 0);
  assert.equal(unexcused("BERTH_TEST_S3 is not set"), 1);
});

test("the closing line has the form that the CI script adds up", () => {
  const line = closingLine({ name: "unit", passed: 12, failed: 0, skipped: 3 });
  assert.equal(line, "suite unit: 12 passed, 0 failed, 3 skipped");
});
