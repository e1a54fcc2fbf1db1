// Everything that a change must pass besides its tests: `npm run check`. One line a check, then what failed. Every check runs, also after
// a failure. Not here: the rules (.oxlintrc.json, .oxfmtrc.json, knip.json, tsconfig.base.json, check-imports.ts, check-lock.ts, check-row-counts.ts).
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { checkCuts } from "./check-cuts.ts";
import { checkImports } from "./check-imports.ts";
import { checkLockOf } from "./check-lock.ts";
import { checkReferences } from "./check-references.ts";
import { checkRowCounts } from "./check-row-counts.ts";
import { findStale } from "./generate.ts";

const ROOT = dirname(import.meta.dirname);

interface Check {
  readonly name: string;
  /** Gives what is wrong; nothing when all is well. */
  run(): Promise<string>;
}

const checks: readonly Check[] = [
  { name: "types", run: () => runTool("typescript", "tsc", ["-p", "tsconfig.json", "--noEmit"]) },
  { name: "lint", run: () => runTool("oxlint", "oxlint", ["--type-aware", "--deny-warnings", "-f", "unix"]) },
  { name: "format", run: () => runTool("oxfmt", "oxfmt", ["--check", "."]) },
  { name: "imports", run: async () => checkImports(ROOT).join("\n") },
  { name: "lock", run: async () => checkLockOf(ROOT).join("\n") },
  { name: "cuts", run: async () => checkCuts(ROOT).join("\n") },
  { name: "references", run: async () => checkReferences(ROOT).join("\n") },
  { name: "row counts", run: async () => checkRowCounts(ROOT).join("\n") },
  { name: "unused", run: () => runTool("knip", "knip", ["--no-progress"]) },
  { name: "generated", run: async () => (await findStale()).join("\n") },
];

/** Runs a tool of node_modules with this Node.js, so that nothing depends on PATH or a shell. */
async function runTool(packageName: string, program: string, options: readonly string[]): Promise<string> {
  const require = createRequire(import.meta.url);
  const manifestPath = findManifest(require.resolve.paths(packageName) ?? [], packageName, require);
  const { bin } = require(manifestPath) as { bin: string | Record<string, string> };
  const script = join(dirname(manifestPath), typeof bin === "string" ? bin : (bin[program] ?? ""));
  const child = spawn(process.execPath, [script, ...options], { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"] });
  const { promise, resolve, reject } = Promise.withResolvers<number | null>();
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  child.stderr.on("data", (data: Buffer) => (output += data.toString()));
  child.once("error", reject);
  child.once("close", resolve);
  const code = await promise;
  return code === 0 ? "" : output.trim() || `ended with ${code}`;
}

/** A package's package.json; found by its folder, since `exports` may hide it. */
function findManifest(folders: readonly string[], packageName: string, require: NodeJS.Require): string {
  for (const folder of folders) {
    const path = join(folder, packageName, "package.json");
    try {
      return require.resolve(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  throw new Error(`${packageName} is not installed: run \`npm ci\``);
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

// Names choose checks: `node tools/check.ts types lint`.
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !checks.some((check) => check.name === name));
if (unknown.length > 0) {
  console.error(`No such check: ${unknown.join(", ")}. There are ${checks.map(({ name }) => name).join(", ")}.`);
  process.exit(2);
}
let failures = "";
// One after another: the tools use every core by themselves.
for (const check of checks) if (wanted.length === 0 || wanted.includes(check.name)) failures += await runCheck(check);
if (failures !== "") {
  console.error(failures);
  process.exitCode = 1;
}
