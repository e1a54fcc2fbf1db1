// Checks that a file which a comment or a page names exists, so that moved and renamed files are also found in texts. A name is resolved
// from its own folder, the server's sources, and the repository's root; one without a folder may be anywhere in the repository. Not here:
// links of pages (docs), files that exist only at run time.
import { globSync, readFileSync } from "node:fs";
import { basename, join, posix } from "node:path";

/** The folders from which paths are resolved. */
const ROOTS = [
  "",
  "apps/server/src",
  "apps/server/src/http",
  "apps/server/src/platform/database",
  "apps/server",
  "packages/oci/src",
  "packages/api/src",
  "packages",
  "test",
  "docs",
];
const COMMENT = /^\s*(?:\/\/|\*|\/\*\*?)(.*)$|\s\/\/ (.*)$/;
/** A path of a source or a page, without a placeholder in it. */
const NAME = /(?<![\w/.*{}<>@:…-])((?:[\w-]+\/)*[\w.-]+\.(?:ts|mjs|md))(?![\w/{}*-])/g;

/** Names that stand for any file, and pages of the specifications. */
const OTHERS = /^(?:name\.|file\.ts$)|^(?:descriptor|layer|config|manifest|image-index)\.md$/;

/** The files that a line names. */
export function namesIn(line: string): string[] {
  return [...line.matchAll(NAME)].map((match) => match[1]!).filter((name) => !OTHERS.test(name));
}

/** The files that a page asks its reader to create, by path and by name alone. */
function filesMadeBy(text: string): Set<string> {
  const paths = [...text.matchAll(/^(?:New file|新文件) `([^`]+)`/gm)].map((match) => match[1]!);
  return new Set(paths.flatMap((path) => [path, posix.basename(path)]));
}

/** Returns `file:line: what is missing` for files given as path and text; `known` are all files of the repository. */
export function findMissing(files: Iterable<readonly [string, string]>, known: ReadonlySet<string>): string[] {
  const names = new Set([...known].map((path) => basename(path)));
  const problems: string[] = [];
  for (const [file, text] of files) {
    const isPage = file.endsWith(".md");
    const made = isPage ? filesMadeBy(text) : new Set<string>();
    for (const [at, line] of text.split("\n").entries()) {
      const comment = isPage
        ? line
        : COMMENT.exec(line)
            ?.slice(1)
            .find((part) => part !== undefined);
      for (const name of namesIn(comment ?? "")) {
        const places = [posix.dirname(file), ...ROOTS].map((root) => posix.join(root, name));
        const isThere = name.includes("/") ? places.some((place) => known.has(place)) : names.has(name);
        if (!isThere && !made.has(name)) problems.push(`${file}:${at + 1}: there is no ${name}`);
      }
    }
  }
  return problems;
}

/** Checks the sources and pages below `root`. */
export function checkReferences(root: string): string[] {
  const known = new Set(
    globSync(["*", "{apps,packages,test,tools,docs,deploy,.ci}/**/*"], { cwd: root, exclude: ["**/node_modules/**"] }).map((path) =>
      path.replaceAll("\\", "/"),
    ),
  );
  const files = [...known].filter((path) => /\.(?:ts|mjs|md)$/.test(path) && !path.startsWith("CHANGELOG"));
  return findMissing(
    files.map((path) => [path, readFileSync(join(root, path), "utf8")] as const),
    known,
  );
}
