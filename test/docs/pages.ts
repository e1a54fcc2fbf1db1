// Reads the pages that people follow: README and docs/guide in both languages, their blocks of commands, and the marks above those.
// Not here: running the blocks (page-run.ts), what must hold of them (pages.test.ts).
//
// A mark is an HTML comment in the line before the block, which a reader of the page does not see:
//   <!-- needs: crane, oras -->   clients that the block uses; such a page runs in the suite `clients`
//   <!-- fails -->                the block must fail
//   <!-- printed -->              above a block of text: the block of commands before it prints these lines; … stands for anything
//   <!-- not run: REASON -->      the block cannot run in a test
//   <!-- page: slow -->           anywhere: the page takes many seconds, and runs in the suite `clients` too
//   <!-- page: old registry -->   anywhere: a registry of distribution listens at 127.0.0.1:5001, as the page expects
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

export const ROOT = join(import.meta.dirname, "../..");

/** A block of commands. */
export interface CommandBlock {
  /** Of the page, from 1. */
  readonly line: number;
  readonly text: string;
  /** Names of tools (tools/install.ts). */
  readonly needs: readonly string[];
  readonly mustFail: boolean;
  /** Why it is not run; undefined for one that is. */
  readonly notRun: string | undefined;
  /** The lines that it must print, where the page shows them. */
  readonly printed: readonly string[];
}

/** A page with its blocks of commands. */
export interface Page {
  /** Below the root, with `/`. */
  readonly path: string;
  readonly text: string;
  readonly blocks: readonly CommandBlock[];
  readonly needsOldRegistry: boolean;
  /** Whether it runs with every change; else in the suite `clients`. */
  readonly isQuick: boolean;
}

/** A fenced block of any language, with the comments right above it. */
export interface Fence {
  readonly language: string;
  readonly line: number;
  readonly text: string;
  readonly marks: readonly string[];
}

/** Every fenced block of a page; an indented one loses its indentation. */
export function fencesOf(text: string): Fence[] {
  const fences: Fence[] = [];
  let open: { language: string; line: number; indent: string; lines: string[]; marks: string[] } | undefined;
  let marks: string[] = [];
  for (const [at, line] of text.split("\n").entries()) {
    const fence = /^(\s*)```(\S*)\s*$/.exec(line);
    if (open === undefined && fence !== null) {
      open = { language: fence[2]!, line: at + 1, indent: fence[1]!, lines: [], marks };
      marks = [];
    } else if (open !== undefined && fence !== null) {
      fences.push({ language: open.language, line: open.line, text: open.lines.join("\n"), marks: open.marks });
      open = undefined;
    } else if (open !== undefined) {
      open.lines.push(line.startsWith(open.indent) ? line.slice(open.indent.length) : line);
    } else {
      const mark = /^\s*<!-- (.+?) -->\s*$/.exec(line);
      if (mark !== null) marks.push(mark[1]!);
      else if (line.trim() !== "") marks = [];
    }
  }
  if (open !== undefined) throw new Error(`the block of line ${open.line} has no end`);
  return fences;
}

/** The blocks of commands of a page's text. Throws for a mark that has no meaning. */
export function parsePage(path: string, text: string): Page {
  const blocks: CommandBlock[] = [];
  for (const { language, line, text: body, marks } of fencesOf(text)) {
    const where = `${path}:${line}`;
    if (language === "sh") {
      let needs: readonly string[] = [];
      let notRun: string | undefined;
      let mustFail = false;
      for (const mark of marks) {
        const [, word, rest = ""] = /^(needs|not run|fails|page)(?:: (.+))?$/.exec(mark) ?? [];
        if (word === "needs") needs = rest.split(/, */);
        else if (word === "not run" && rest !== "") notRun = rest;
        else if (word === "fails") mustFail = true;
        else if (word !== "page") throw new Error(`${where}: no such mark as "${mark}"`);
      }
      blocks.push({ line, text: body, needs, mustFail, notRun, printed: [] });
    } else if (marks.includes("printed")) {
      const before = blocks.pop();
      if (before === undefined || before.notRun !== undefined) throw new Error(`${where}: no command that runs stands before it`);
      blocks.push({ ...before, printed: [...before.printed, ...body.split("\n").filter((each) => each.trim() !== "")] });
    }
  }
  const needsOldRegistry = text.includes("<!-- page: old registry -->");
  const needsClients = blocks.some((block) => block.notRun === undefined && block.needs.length > 0);
  return { path, text, blocks, needsOldRegistry, isQuick: !needsClients && !needsOldRegistry && !text.includes("<!-- page: slow -->") };
}

/** The pages that a newcomer follows, in both languages. */
export function readPages(): Page[] {
  const paths = globSync(["README*.md", "docs/README*.md", "docs/guide/*.md"], { cwd: ROOT }).map((path) => path.replaceAll("\\", "/"));
  return paths.toSorted().map((path) => parsePage(path, readFileSync(join(ROOT, path), "utf8")));
}

/** Whether a page is a translation; its commands are those of the English one, which run. */
export function isTranslation(page: Page): boolean {
  return page.path.endsWith(".zh-CN.md");
}

/** Every client that a page's blocks need, each once. */
export function needsOf(page: Page): string[] {
  return [...new Set(page.blocks.flatMap((block) => (block.notRun === undefined ? block.needs : [])))];
}
