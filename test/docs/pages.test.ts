// The pages that people follow: every block of commands runs as printed, or says why it cannot; links resolve; the index has every page;
// translations have the same commands. Not here: pages whose commands need clients or much time (../clients/pages.test.ts).
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { describe, it } from "node:test";
import { runPage } from "./page-run.ts";
import { fencesOf, isTranslation, type Page, parsePage, readPages, ROOT } from "./pages.ts";

/** The languages of blocks. `sh` runs; a block that no program runs or reads is `text`. */
const LANGUAGES = new Set(["sh", "text", "yaml", "toml", "json", "ts", "mermaid", "groovy", "bash", "python", "js", "go"]);

const pages = readPages();
const english = pages.filter((page) => !isTranslation(page));

describe("blocks of commands in pages", () => {
  for (const page of english) {
    if (!page.isQuick || page.blocks.every((block) => block.notRun !== undefined)) continue;
    it(`${page.path} runs as printed`, async (t) => {
      t.diagnostic(`${await runPage(page)} blocks ran`);
    });
  }

  it("page blocks: those that do not run say why", (t) => {
    const blocks = english.flatMap((page) => page.blocks.map((block) => ({ page: page.path, ...block })));
    const marked = blocks.filter((block) => block.notRun !== undefined);
    t.diagnostic(`${blocks.length - marked.length} of ${blocks.length} blocks run`);
    for (const { page, line, notRun } of marked) t.diagnostic(`not run: ${page}:${line}: ${notRun}`);
    // A page that stopped running its blocks would be seen here.
    assert.ok(blocks.length - marked.length >= marked.length, `${marked.length} of ${blocks.length} blocks are not run`);
  });

  it("page blocks: each names its language", () => {
    const problems = pages.flatMap((page) =>
      fencesOf(page.text)
        .filter(({ language }) => !LANGUAGES.has(language))
        .map(({ line, language }) => `${page.path}:${line}: "${language}"`),
    );
    assert.deepEqual(problems, []);
  });

  it("page marks: an unknown one is refused", () => {
    assert.throws(() => parsePage("a.md", "<!-- not rum: why -->\n```sh\ntrue\n```\n"), /no such mark/);
    assert.throws(() => parsePage("a.md", "<!-- not run -->\n```sh\ntrue\n```\n"), /no such mark/);
    assert.throws(() => parsePage("a.md", "```sh\ntrue\n"), /has no end/);
  });

  it("page run: a block that fails, does not fail, or prints something else is named by its line", async () => {
    const run = (text: string) => runPage(parsePage("a.md", text));
    await assert.rejects(run("text\n```sh\ncurl http://127.0.0.1:5000/v2/\n```\n"), /a\.md:2: ended with 22/);
    await assert.rejects(run("<!-- fails -->\n```sh\ntrue\n```\n"), /a\.md:2: ended with 99/);
    await assert.rejects(run("```sh\necho one two\n```\n<!-- printed -->\n```text\none … three\n```\n"), /a\.md:1 does not print/);
    assert.equal(await run("```sh\nA=1\n```\n<!-- fails -->\n```sh\nfalse\n```\n```sh\n[ $A = 1 ]\n```\n"), 3);
  });
});

/** As GitHub makes them: lower case, without punctuation, spaces as hyphens. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .replaceAll(" ", "-");
}

function anchorsOf(text: string): Set<string> {
  return new Set([...text.matchAll(/^#+ (.+)$/gm)].map((match) => anchorOf(match[1]!)));
}

function linksOf(page: Page): string[] {
  const outside = page.text.replaceAll(/```[\s\S]*?```/g, "");
  return [...outside.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]!).filter((link) => !/^[a-z]+:/.test(link));
}

describe("links of pages", () => {
  it("page links: lead to files and headings that are there", () => {
    const problems: string[] = [];
    for (const page of pages) {
      for (const link of linksOf(page)) {
        const [path = "", anchor] = link.split("#");
        const target = path === "" ? page.path : posix.join(dirname(page.path), path);
        const file = join(ROOT, target);
        if (!existsSync(file)) problems.push(`${page.path}: ${link}`);
        else if (anchor !== undefined && !anchorsOf(readFileSync(file, "utf8")).has(decodeURIComponent(anchor))) {
          problems.push(`${page.path}: ${link}: no such heading`);
        }
      }
    }
    assert.deepEqual(problems, []);
  });

  it("page index: has every guide, in its language where there is one", () => {
    for (const [index, suffix] of [
      ["docs/README.md", ".md"],
      ["docs/README.zh-CN.md", ".zh-CN.md"],
    ] as const) {
      const linked = new Set(linksOf(pages.find((page) => page.path === index)!).map((link) => posix.join("docs", link.split("#")[0]!)));
      const guides = pages.map((page) => page.path).filter((path) => path.startsWith("docs/guide/") && !path.endsWith(".zh-CN.md"));
      const wanted = guides.map((path) => {
        const own = path.replace(/\.md$/, suffix);
        return existsSync(join(ROOT, own)) ? own : path;
      });
      assert.deepEqual(
        wanted.filter((path) => !linked.has(path)),
        [],
        index,
      );
    }
  });
});

describe("translations of pages", () => {
  /** A block without its comments, which are translated. */
  const bare = (text: string) =>
    text
      .split("\n")
      .map((line) => line.replace(/(^|\s)# .*$/, "").trimEnd())
      .filter((line) => line !== "");

  for (const page of pages.filter(isTranslation)) {
    it(`${page.path} has the commands of the English page`, () => {
      const original = pages.find(({ path }) => path === page.path.replace(".zh-CN.md", ".md"));
      assert.ok(original !== undefined, `there is no English page for ${page.path}`);
      const textsOf = ({ text }: Page) =>
        fencesOf(text)
          .filter(({ language }) => language === "sh" || language === "ts")
          .map((fence) => bare(fence.text));
      assert.deepEqual(textsOf(page), textsOf(original));
    });
  }
});
