// Runs a program of an npm package. Not here: the programs (check.ts, check-sizes.ts).
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const ROOT = dirname(import.meta.dirname);

/** How a tool ended, and its output on both streams. */
export interface ToolResult {
  readonly code: number | null;
  readonly output: string;
}

/** Runs a tool of node_modules with this Node.js, so that nothing depends on PATH or a shell. */
export async function runTool(packageName: string, program: string, options: readonly string[]): Promise<ToolResult> {
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
  return { code: await promise, output };
}

/** A package's package.json, found by its folder, because `exports` may hide it. */
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
