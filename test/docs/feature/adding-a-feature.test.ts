// Walks docs/guide/adding-a-feature.md: applies its blocks to a copy of the tree, in their order, and then compiles, checks and tests the
// result. Not here: the page's text.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { it } from "node:test";
import { promisify } from "node:util";
import { temporaryFolder } from "../../tools/processes.ts";
import { copyTree } from "../../tools/tree-copy.ts";
import { ROOT } from "../pages.ts";

const run = promisify(execFile);

/** What the page does to one file. */
interface Edit {
  readonly file: string;
  readonly how: "new" | "after" | "instead of";
  readonly anchor: string;
  readonly text: string;
}

/** The page's edits, in their order. Every block of TypeScript must be one. */
function editsOf(page: string): Edit[] {
  const edits = [
    ...page.matchAll(
      /^(?:New file `(?<made>[^`]+)`|In `(?<file>[^`]+)`, (?<how>after|instead of) `(?<anchor>[^`]+)`):\n\n```ts\n(?<text>[\s\S]*?)\n```$/gm,
    ),
  ].map(({ groups }): Edit => {
    const { made, file, how, anchor, text } = groups!;
    return { file: (made ?? file)!, how: made === undefined ? (how as Edit["how"]) : "new", anchor: anchor ?? "", text: text! };
  });
  assert.equal(edits.length, page.match(/^```ts$/gm)?.length, "a block of TypeScript says not where it belongs");
  return edits;
}

async function apply(tree: string, { file, how, anchor, text }: Edit): Promise<void> {
  const path = join(tree, file);
  if (how === "new") {
    assert.ok(!existsSync(path), `${file} is there already`);
    await mkdir(dirname(path), { recursive: true });
    return writeFile(path, `${text}\n`);
  }
  const before = await readFile(path, "utf8");
  const parts = before.split(how === "after" ? `${anchor}\n` : anchor);
  assert.equal(parts.length, 2, `${file} has ${parts.length - 1} times: ${anchor}`);
  await writeFile(path, how === "after" ? `${parts[0]}${anchor}\n${text}\n${parts[1]}` : `${parts[0]}${text}${parts[1]}`);
}

it("docs/guide/adding-a-feature.md leads to a feature that compiles, keeps the rules and works", async (t) => {
  const edits = editsOf(await readFile(join(ROOT, "docs/guide/adding-a-feature.md"), "utf8"));
  const tree = await temporaryFolder("feature");
  try {
    await copyTree(tree);
    for (const edit of edits) await apply(tree, edit);
    const { NODE_TEST_CONTEXT: _context, ...env } = process.env;
    const node = async (...args: string[]) => {
      await run(process.execPath, args, { cwd: tree, env, maxBuffer: 1 << 26 }).catch(
        (error: Error & { stdout?: string; stderr?: string }) => {
          assert.fail(`${args.join(" ")}:\n${error.stdout ?? ""}${error.stderr ?? ""}`);
        },
      );
    };
    await node("tools/generate.ts");
    await node("tools/check.ts", "types", "lint", "format", "imports", "references", "generated");
    await node("--test", "test/flows/notes.test.ts", "apps/server/src/tables.test.ts");
    await node("--test", "--test-name-pattern=covers every operation", "test/flows/access-matrix.test.ts");
    t.diagnostic(`${edits.length} edits`);
  } finally {
    await rm(tree, { recursive: true, force: true });
  }
});
