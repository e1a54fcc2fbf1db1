// Runs the test suites: `node tools/run-tests.ts unit|all|NAME...`. Each suite is a child process of its own and ends
// in one line of counts. Here: which files a suite takes, and which servers it needs. Starting those is in test/tools/.
import { spawn } from "node:child_process";
import { globSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestCounts } from "../test/tools/count-reporter.ts";
import { cannotRunHere, ToolUnavailable } from "../test/tools/install.ts";
import { atOurEnd } from "../test/tools/processes.ts";
import { type S3Server, startCephRgw, startPostgres, startVersitygw } from "../test/tools/servers.ts";

/** A server that a suite's tests find through their environment. */
interface Service {
  readonly env: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

interface Suite {
  readonly name: string;
  readonly files: readonly string[];
  /** Takes only the files that hold one of these words. */
  readonly containing?: readonly string[];
  /** After this a test counts as hung and fails: a promise that never settles would hold up the run for ever. */
  readonly hungAfterMinutes: number;
  readonly services?: readonly (() => Promise<Service>)[];
  /** More of its tests' environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Cheap ones first: a run that fails should fail early. */
const suites: readonly Suite[] = [
  {
    name: "unit",
    files: ["apps/**/*.test.ts", "packages/**/*.test.ts", "tools/**/*.test.ts", "test/tools/*.test.ts"],
    hungAfterMinutes: 10,
  },
  { name: "flows", files: ["test/{docs,flows}/*.test.ts"], hungAfterMinutes: 10 },
  {
    name: "versitygw",
    files: ["apps/server/**/*.test.ts"],
    containing: ["forEachBlobStore"],
    hungAfterMinutes: 15,
    services: [() => s3Service(startVersitygw)],
  },
  {
    name: "postgres",
    files: ["apps/server/**/*.test.ts", "test/flows/*.test.ts"],
    containing: ["forEachDatabase", "forEachBlobStore", "BERTH_TEST_POSTGRES_URL"],
    hungAfterMinutes: 15,
    services: [postgresService, () => s3Service(startCephRgw)],
    // The other half has run in `unit`.
    env: { BERTH_TEST_SQLITE: "no" },
  },
  { name: "conformance", files: ["test/conformance/*.test.ts"], hungAfterMinutes: 20 },
  { name: "replicas", files: ["test/replicas/*.test.ts"], hungAfterMinutes: 20 },
  { name: "guide", files: ["test/docs/feature/*.test.ts"], hungAfterMinutes: 10 },
  { name: "clients", files: ["test/clients/*.test.ts"], hungAfterMinutes: 20 },
  { name: "failure", files: ["test/failure/*.test.ts"], hungAfterMinutes: 20 },
  { name: "versions", files: ["test/versions/*.test.ts"], hungAfterMinutes: 20 },
  { name: "deploy", files: ["test/deploy/*.test.ts"], hungAfterMinutes: 20 },
];

/** How a suite went. */
export interface SuiteResult extends TestCounts {
  readonly name: string;
  readonly seconds: number;
  /** The variables that told the tests where the suite's servers are. */
  readonly provided: readonly string[];
}

/** The one line that closes a suite; `.ci/run` adds these lines up. */
export function closingLine(result: Pick<SuiteResult, "name" | "passed" | "failed" | "skipped">): string {
  return `suite ${result.name}: ${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped`;
}

/**
 * The skips that nothing excuses. With `ci` each counts as a failure: a skip is excused only when its reason says that
 * this machine cannot run the test (`cannotRunHere`, or the folder `../shared` of test material that not every machine
 * has), or that it needs a server which is another suite's (`BERTH_TEST_... is not set`).
 */
export function unexcusedSkips(result: Pick<SuiteResult, "skips" | "provided">): TestCounts["skips"] {
  return result.skips.filter(({ reason }) => {
    const unset = /^(BERTH_TEST_\w+) is not set/.exec(reason)?.[1];
    if (unset !== undefined) return result.provided.includes(unset);
    return !reason.startsWith(cannotRunHere) && !reason.includes("../shared");
  });
}

/** Reads what count-reporter.ts wrote; a runner that died before its end counts as one failure. */
export function parseCounts(text: string): TestCounts {
  const line = text.trim().split("\n").at(-1) ?? "";
  return line === "" ? { passed: 0, failed: 1, skipped: 0, skips: [] } : (JSON.parse(line) as TestCounts);
}

async function postgresService(): Promise<Service> {
  const server = await startPostgres();
  return { env: { BERTH_TEST_POSTGRES_URL: server.url }, stop: () => server.stop() };
}

async function s3Service(start: () => Promise<S3Server>): Promise<Service> {
  const server = await start();
  return { env: { BERTH_TEST_S3: JSON.stringify(server.target) }, stop: () => server.stop() };
}

/** The suite's test files, in a fixed order. */
function filesOf(suite: Suite): string[] {
  const files = globSync([...suite.files], { exclude: ["**/node_modules/**"] }).toSorted();
  const words = suite.containing;
  if (words === undefined) return files;
  return files.filter((file) => {
    const text = readFileSync(file, "utf8");
    return words.some((word) => text.includes(word));
  });
}

async function runSuite(suite: Suite, files: readonly string[]): Promise<SuiteResult> {
  const startedAt = performance.now();
  const running: Service[] = [];
  const skips: { name: string; reason: string }[] = [];
  try {
    for (const start of suite.services ?? []) {
      try {
        running.push(await start());
      } catch (error) {
        if (!(error instanceof ToolUnavailable)) throw error;
        const reason = error.machineLacks ? cannotRunHere + error.message : error.message;
        console.log(`suite ${suite.name}: without ${reason}`);
        skips.push({ name: error.tool, reason });
      }
    }
    // Without any of its servers a suite would only repeat what `unit` did.
    const pointless = suite.services !== undefined && running.length === 0;
    const env = Object.assign({}, ...running.map((service) => service.env)) as Record<string, string>;
    const counts = pointless
      ? { passed: 0, failed: 0, skipped: 0, skips: [] }
      : await runFiles(files, suite.hungAfterMinutes, { ...suite.env, ...env });
    const allSkips = [...counts.skips, ...skips];
    const seconds = (performance.now() - startedAt) / 1000;
    const provided = Object.keys(env);
    return { ...counts, name: suite.name, skipped: allSkips.length, skips: allSkips, provided, seconds };
  } finally {
    for (const service of running) await service.stop();
  }
}

async function runFiles(files: readonly string[], hungAfterMinutes: number, env: Readonly<Record<string, string>>): Promise<TestCounts> {
  const countsFile = join(tmpdir(), `berth-test-counts-${process.pid}-${Date.now()}`);
  const args = [
    "--test",
    // Two: the smallest CI machines have two cores, and one file's waiting is another's working time.
    "--test-concurrency=2",
    `--test-timeout=${hungAfterMinutes * 60_000}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    "--test-reporter=./test/tools/count-reporter.ts",
    `--test-reporter-destination=${countsFile}`,
  ];
  // Only the suite says which servers its tests use, not the caller's environment.
  const { BERTH_TEST_POSTGRES_URL: _url, BERTH_TEST_S3: _s3, NODE_TEST_CONTEXT: _context, ...outer } = process.env;
  // Each file is a process of its own, and so is each server that a test starts: what one compiled the others need not.
  const cache = { NODE_COMPILE_CACHE: join(process.cwd(), "node_modules/.cache/compiled") };
  const child = spawn(process.execPath, [...args, ...files], { stdio: "inherit", env: { ...cache, ...outer, ...env } });
  const callOff = atOurEnd(() => child.kill("SIGTERM"));
  const code = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (exitCode) => resolve(exitCode ?? 1));
  });
  callOff();
  const counts = parseCounts(readIfPresent(countsFile));
  rmSync(countsFile, { force: true });
  return code !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts;
}

function readIfPresent(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw error;
  }
}

async function main(names: readonly string[]): Promise<number> {
  if (Number.parseInt(process.versions.node, 10) < 26) {
    console.error(`Node ${process.versions.node} is too old. Run \`npm ci\`, then \`npm test\`: npm brings Node 26.`);
    return 1;
  }
  const known = suites.map((suite) => suite.name);
  const unknown = names.filter((name) => name !== "all" && !known.includes(name));
  if (names.length === 0 || unknown.length > 0) {
    console.error(`usage: node tools/run-tests.ts all|NAME...\nsuites: ${known.join(" ")}`);
    return 2;
  }
  process.chdir(join(import.meta.dirname, ".."));
  const ci = process.env["CI"] === "true";
  const results: SuiteResult[] = [];
  for (const suite of suites) {
    if (!names.includes("all") && !names.includes(suite.name)) continue;
    const files = filesOf(suite);
    if (files.length === 0) {
      console.log(`suite ${suite.name} has no test files`);
      continue;
    }
    const result = await runSuite(suite, files);
    for (const skip of result.skips) console.log(`skipped ${skip.name}: ${skip.reason || "no reason given"}`);
    const unexcused = ci ? unexcusedSkips(result) : [];
    for (const skip of unexcused) console.log(`failed ${skip.name}: CI skips nothing that this machine could run`);
    const counted = { ...result, failed: result.failed + unexcused.length, skipped: result.skipped - unexcused.length };
    console.log(closingLine(counted));
    results.push(counted);
  }
  if (results.length > 1) {
    console.log("\nsuite        passed  failed  skipped  seconds");
    for (const result of results) {
      const { name, passed, failed, skipped, seconds } = result;
      const columns = [String(passed).padStart(6), String(failed).padStart(6), String(skipped).padStart(7)];
      console.log(`${name.padEnd(11)}  ${columns.join("  ")}  ${seconds.toFixed(1).padStart(7)}`);
    }
  }
  return results.every((result) => result.failed === 0) ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
