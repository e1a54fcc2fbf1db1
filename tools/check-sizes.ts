// Files have at most 400 lines, functions 150 and four parameters. sizes.json lists what was larger when this rule began, with sizes that
// may decrease and never increase: `npm run generate` writes the decreased ones. Not here: the limits (sizes.oxlintrc.json).
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { runTool } from "./run-tool.ts";

/** By `FILE RULE NAME`. */
type Sizes = Readonly<Record<string, number>>;

interface Report {
  readonly diagnostics: readonly { readonly message: string; readonly code: string; readonly filename: string }[];
}

/** Sizes over the limits, from the linter's report. */
export function sizesOf({ diagnostics }: Report): Sizes {
  const sizes: Record<string, number> = {};
  for (const { message, code, filename } of diagnostics) {
    const name = /[`'](\w+)[`']/.exec(message)?.[1] ?? "";
    const size = Number(/\((\d+)\)/.exec(message)?.[1]);
    const key = [filename.replaceAll("\\", "/"), /\((.*)\)/.exec(code)?.[1] ?? code, name].join(" ").trim();
    sizes[key] = Math.max(size, sizes[key] ?? 0);
  }
  return sizes;
}

/** The sizes that exceed what is allowed. */
export function findGrown(found: Sizes, allowed: Sizes): string[] {
  return Object.entries(found)
    .filter(([key, size]) => size > (allowed[key] ?? 0))
    .map(([key, size]) => `${key}: ${size}${allowed[key] === undefined ? ", which is over the limit" : `, and was ${allowed[key]}`}`);
}

/** The sizes that are allowed from now on: none increases, and what is within the limits is no exception any more. */
export function lowered(found: Sizes, allowed: Sizes): Sizes {
  return Object.fromEntries(
    Object.entries(allowed).flatMap(([key, size]) => (found[key] === undefined ? [] : [[key, Math.min(size, found[key])] as const])),
  );
}

const allowedSizes = (): Sizes => JSON.parse(readFileSync(join(import.meta.dirname, "sizes.json"), "utf8")) as Sizes;

let found: Promise<Sizes> | undefined;

/** Runs the linter once, although `npm run check` needs the result twice. */
const findSizes = (): Promise<Sizes> => (found ??= readSizes());

async function readSizes(): Promise<Sizes> {
  const options = ["-c", "tools/sizes.oxlintrc.json", "-f", "json", "apps", "packages", "tools", "test"];
  const { output } = await runTool("oxlint", "oxlint", options);
  return sizesOf(JSON.parse(output) as Report);
}

/** The check: a line for each file and function that is too large. */
export async function checkSizes(): Promise<string> {
  return findGrown(await findSizes(), allowedSizes()).join("\n");
}

/** The new content of sizes.json. */
export async function generateSizes(): Promise<string> {
  return `${JSON.stringify(lowered(await findSizes(), allowedSizes()), undefined, 2)}\n`;
}
