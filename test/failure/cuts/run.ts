// Removes one safety line at a time from a copy of this tree, runs its test there, and requires that to fail: `npm run test:failure --
// --cuts`, or `-- --cuts WORD…` for those whose text contains one of the words. Not here: the lines (cuts.ts).
import { spawn } from "node:child_process";
import { readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { ToolUnavailable } from "../../tools/install.ts";
import { atOurEnd, temporaryFolder } from "../../tools/processes.ts";
import { startPostgres, startVersitygw } from "../../tools/servers.ts";
import { copyTree } from "../../tools/tree-copy.ts";
import { type Cut, CUTS } from "./cuts.ts";

/** A test that hangs without its safety line has found it, too. */
const HUNG_AFTER_MS = 120_000;

interface Outcome {
  readonly isFound: boolean;
  /** The failing tests with the first line of what they say. */
  readonly words: string;
}

/** Tests of the name that failed, with the first line of what each said. */
function failuresIn(lines: readonly string[], cut: Cut): string[] {
  const failed: string[] = [];
  for (const [at, line] of lines.entries()) {
    const title = /^\s*not ok \d+ - (.*?)(?: # .*)?$/.exec(line)?.[1];
    if (title === undefined || !title.includes(cut.name)) continue;
    const end = lines.findIndex((each, i) => i > at && /^\s*\.\.\.$/.test(each));
    if (end === -1) continue;
    const block = lines.slice(at, end);
    // A suite is reported as well, with its tests' failures.
    if (block.some((each) => /type: 'suite'|subtests? failed|failureType: 'subtestsFailed'/.test(each))) continue;
    const error = block.findIndex((each) => /^\s*error: /.test(each));
    const said = block[error]?.replace(/^\s*error: (\|-)?/, "").trim();
    failed.push(`${title}: ${said === "" ? (block[error + 1]?.trim() ?? "") : said}`);
  }
  return failed;
}

async function runTest(root: string, cut: Cut, env: Readonly<Record<string, string>>): Promise<Outcome> {
  const args = ["--test", "--test-reporter=tap", `--test-timeout=${HUNG_AFTER_MS}`];
  const pattern = cut.name === "" ? [] : [`--test-name-pattern=${cut.name.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&")}`];
  const { NODE_TEST_CONTEXT: _context, ...outer } = process.env;
  const child = spawn(process.execPath, [...args, ...pattern, cut.test], {
    cwd: root,
    env: { ...outer, ...env },
    stdio: ["ignore", "pipe", "ignore"],
  });
  const callOff = atOurEnd(() => child.kill("SIGTERM"));
  const lines: string[] = [];
  let rest = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    lines.push(...parts);
    // One failure is enough: without its safety line a test may hang on each database and store in turn.
    if (failuresIn(lines, cut).length > 0) child.kill("SIGTERM");
  });
  await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  callOff();
  const failed = failuresIn(lines, cut);
  // A file that does not even load proves nothing.
  const isLoaded = lines.some((line) => /^\s+(not )?ok \d+/.test(line)) || failed.some((text) => !text.startsWith(cut.test));
  return { isFound: failed.length > 0 && isLoaded, words: failed[0] ?? "nothing failed" };
}

async function main(words: readonly string[]): Promise<number> {
  const root = join(await temporaryFolder("cuts"), "tree");
  const stops: (() => Promise<void>)[] = [() => rm(dirname(root), { recursive: true, force: true, maxRetries: 3 })];
  const env: Record<string, string> = {};
  let missed = 0;
  try {
    await copyTree(root);
    const postgres = await startPostgres();
    stops.push(postgres.stop);
    env["BERTH_TEST_POSTGRES_URL"] = postgres.url;
    const s3 = await startVersitygw().catch((error: unknown) => {
      if (!(error instanceof ToolUnavailable)) throw error;
      return undefined;
    });
    if (s3 !== undefined) {
      stops.push(s3.stop);
      env["BERTH_TEST_S3"] = JSON.stringify(s3.target);
    }
    const chosen = CUTS.filter(
      (cut) => words.length === 0 || words.some((word) => `${cut.invariant} ${cut.what} ${cut.file} ${cut.name}`.includes(word)),
    );
    for (const cut of chosen) {
      const file = join(root, cut.file);
      const source = await readFile(file, "utf8");
      if (source.split(cut.from).length !== 2) throw new Error(`${cut.file} does not hold once:\n${cut.from}`);
      await writeFile(
        file,
        source.replace(cut.from, () => cut.to),
      );
      const { isFound, words: said } = await runTest(root, cut, { ...env, BERTH_TEST_ROUNDS: String(cut.rounds ?? 1) });
      await writeFile(file, source);
      if (!isFound) missed++;
      console.log(`${isFound ? "found " : "MISSED"} ${cut.invariant}: ${cut.what}\n       ${cut.test}: ${said}`);
    }
    console.log(`${chosen.length} lines taken out, ${missed} missed`);
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
  return missed === 0 ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
