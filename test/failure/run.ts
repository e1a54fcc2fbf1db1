// `npm run test:failure`: the short form, as CI has it. `-- --long` runs for hours, `-- --rounds=N` chooses the rounds of each test,
// `-- --cuts` takes one safety line at a time out of a copy of the source and shows the test that fails. Not here: the tests.
import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { long: { type: "boolean" }, rounds: { type: "string" }, cuts: { type: "boolean" } },
});

/** Files of this folder whose names hold one of the words; all where there is none. */
function filesOf(words: readonly string[]): string[] {
  const files = globSync("test/failure/*.test.ts").toSorted();
  return words.length === 0 ? files : files.filter((file) => words.some((word) => file.includes(word)));
}

async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<number> {
  const child = spawn(process.execPath, args, { stdio: "inherit", env: { ...process.env, ...env } });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}

process.chdir(join(import.meta.dirname, "../.."));
const rounds = values.rounds ?? (values.long === true ? "long" : undefined);
if (Number.parseInt(process.versions.node, 10) < 26) {
  console.error("Node.js 26 is needed: run this with `npm run`, after `npm ci`.");
  process.exitCode = 1;
} else if (values.cuts === true) process.exitCode = await run(["test/failure/cuts/run.ts", ...positionals]);
// The suite as CI runs it, with its limit of time; a long run has none.
else if (rounds === undefined && positionals.length === 0) process.exitCode = await run(["tools/run-tests.ts", "failure"]);
else {
  const args = ["--test", "--test-concurrency=1", "--test-reporter=spec", ...filesOf(positionals)];
  process.exitCode = await run(args, rounds === undefined ? {} : { BERTH_TEST_ROUNDS: rounds });
}
