// The rule that nobody writes to the database and ignores how many rows that changed: what `change` gives is looked at, and where the rows that
// `write` gives are not, a comment in the line above says why nothing rests on them. (`run` is told the number, or why any will do.)
// Not here: the methods (apps/server/src/platform/database/database.ts).
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A call whose result goes nowhere: it begins its line, or stands behind a condition, or behind an arrow and `void`. */
const IGNORED =
  /^\s*(?:if \(.*\) |else )?([\w$]+: async \([^()]*\) => void )?(?:void )?\(?(?:await )?(?:[\w$]+\.)*[\w$]+\.(change|write)\(/;
/** Objects with a method of the same name that are no database. */
const OTHERS = /\b(?:place|store|file|fs|response|socket|stdout|stderr|target|stream|child|report|bucket|writer)\.write\(/;

/** Checks files given as path (from the repository's root) and text; gives `file:line: what is wrong`. */
export function findIgnoredCounts(files: Iterable<readonly [string, string]>): string[] {
  const problems: string[] = [];
  for (const [file, source] of files) {
    const lines = source.split("\n");
    for (const [at, line] of lines.entries()) {
      const [, arrow, method] = IGNORED.exec(line) ?? [];
      if (method === undefined || OTHERS.test(line)) continue;
      const before = lines[at - 1] ?? "";
      const isExplained = method === "write" && /^\s*\/\/ \S/.test(before);
      // A line that goes on from the one before it is part of an expression that uses it.
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
