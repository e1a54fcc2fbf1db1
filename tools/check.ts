// Everything that a change must pass besides its tests: `npm run check`. It prints one line for each check, then what failed. Every check
// runs, also after a failure. Not here: the rules (.oxlintrc.json, .oxfmtrc.json, knip.json, tsconfig.base.json, check-imports.ts,
// check-lock.ts, check-row-counts.ts).
import { dirname } from "node:path";
import { checkCuts } from "./check-cuts.ts";
import { checkImports } from "./check-imports.ts";
import { checkLockOf } from "./check-lock.ts";
import { checkReferences } from "./check-references.ts";
import { checkRowCounts } from "./check-row-counts.ts";
import { checkSizes } from "./check-sizes.ts";
import { findStale } from "./generate.ts";
import { runTool } from "./run-tool.ts";

const ROOT = dirname(import.meta.dirname);

interface Check {
  readonly name: string;
  /** Returns the problems; an empty text if there are none. */
  run(): Promise<string>;
}

const checks: readonly Check[] = [
  { name: "types", run: () => problemsOf("typescript", "tsc", ["-p", "tsconfig.json", "--noEmit"]) },
  { name: "lint", run: () => problemsOf("oxlint", "oxlint", ["--type-aware", "--deny-warnings", "-f", "unix"]) },
  { name: "format", run: () => problemsOf("oxfmt", "oxfmt", ["--check", "."]) },
  { name: "imports", run: async () => checkImports(ROOT).join("\n") },
  { name: "lock", run: async () => checkLockOf(ROOT).join("\n") },
  { name: "cuts", run: async () => checkCuts(ROOT).join("\n") },
  { name: "references", run: async () => checkReferences(ROOT).join("\n") },
  { name: "sizes", run: () => checkSizes() },
  { name: "row counts", run: async () => checkRowCounts(ROOT).join("\n") },
  { name: "unused", run: () => problemsOf("knip", "knip", ["--no-progress"]) },
  { name: "generated", run: async () => (await findStale()).join("\n") },
];

async function problemsOf(packageName: string, program: string, options: readonly string[]): Promise<string> {
  const { code, output } = await runTool(packageName, program, options);
  return code === 0 ? "" : output.trim() || `ended with ${code}`;
}

async function runCheck({ name, run }: Check): Promise<string> {
  let problems: string;
  try {
    problems = await run();
  } catch (error) {
    problems = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  console.log(`${problems === "" ? "ok  " : "FAIL"} ${name}`);
  return problems === "" ? "" : `\n--- ${name}\n${problems}\n`;
}

// Names select checks: `node tools/check.ts types lint`.
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !checks.some((check) => check.name === name));
if (unknown.length > 0) {
  console.error(`No such check: ${unknown.join(", ")}. There are ${checks.map(({ name }) => name).join(", ")}.`);
  process.exit(2);
}
let failures = "";
// One after another, because the tools use every core by themselves.
for (const check of checks) if (wanted.length === 0 || wanted.includes(check.name)) failures += await runCheck(check);
if (failures !== "") {
  console.error(failures);
  process.exitCode = 1;
}
