// The rule that no write ignores the number of changed rows: the result of `change` is used, and if the rows that `write` returns are not
// used, a comment on the line above says why nothing depends on them. (`run` gets the expected number, or a reason why any is right.) Not
// here: the methods (apps/server/src/platform/database/database.ts).
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A call whose result is ignored: it begins its line, or follows a condition, or an arrow and `void`. */
const IGNORED =
  /^\s*(?:if \(.*\) |else )?([\w$]+: async \([^()]*\) => void )?(?:void )?\(?(?:await )?(?:[\w$]+\.)*[\w$]+\.(change|write)\(/;
/** Objects that have a method of the same name and are no database. */
const OTHERS = /\b(?:place|store|file|fs|response|socket|stdout|stderr|target|stream|child|report|bucket|writer)\.write\(/;

/** Checks files given as path (from the repository's root) and text; returns `file:line: what is wrong`. */
export function findIgnoredCounts(files: Iterable<readonly [string, string]>): string[] {
  const problems: string[] = [];
  for (const [file, source] of files) {
    const lines = source.split("\n");
    for (const [at, line] of lines.entries()) {
      const [, arrow, method] = IGNORED.exec(line) ?? [];
      if (method === undefined || OTHERS.test(line)) continue;
      const before = lines[at - 1] ?? "";
      const isExplained = method === "write" && /^\s*\/\/ \S/.test(before);
      // A line that continues the one before is part of an expression that uses it.
      const isContinued = arrow === undefined && /(?:[=(,?:&|]|=>|\breturn)$/.test(before.trimEnd());
      if (!isExplained && !isContinued) problems.push(`${file}:${at + 1}: nobody looks at what ${method}() changed`);
    }
  }
  return problems;
}

/** Checks the server's sources below `root`. */
export function checkRowCounts(root: string): string[] {
  const paths = globSync("apps/server/src/**/*.ts", { cwd: root }).map((path) => path.replaceAll("\\", "/"));
  const sources = paths.filter((path) => !/\.(?:test|testing|contract)\.ts$/.test(path));
  return findIgnoredCounts(sources.map((path) => [path, readFileSync(join(root, path), "utf8")] as const));
}
