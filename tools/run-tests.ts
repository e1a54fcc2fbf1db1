// Runs the test suites: `node tools/run-tests.ts unit|all|NAME...`. Each suite is a child process of its own and ends
// in one line of counts; suites of different lanes run beside each other. Here: which files a suite takes, its lane, and which servers it
// needs. Starting those is in test/tools/.
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, globSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
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
  /**
   * Suites of one lane run one after the other. Those that use the same things of the machine (the Docker and Ceph that stand once, its cores
   * for long) share the first lane; those that mostly wait, for processes to end and for clocks, are in the second.
   */
  readonly lane: 1 | 2;
  readonly files: readonly string[];
  /** Takes only the files that contain one of these words. */
  readonly containing?: readonly string[];
  /** After this time a test counts as hung and fails: a promise that never resolves would stop the run for ever. */
  readonly hungAfterMinutes: number;
  readonly services?: readonly (() => Promise<Service>)[];
  /** Further variables of its tests' environment. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Cheap ones first: a run that fails should fail early. */
const suites: readonly Suite[] = [
  {
    name: "unit",
    lane: 1,
    files: ["apps/**/*.test.ts", "packages/**/*.test.ts", "tools/**/*.test.ts", "test/tools/*.test.ts"],
    hungAfterMinutes: 10,
  },
  { name: "flows", lane: 1, files: ["test/{docs,flows}/*.test.ts"], hungAfterMinutes: 10 },
  {
    name: "versitygw",
    lane: 1,
    files: ["apps/server/**/*.test.ts"],
    containing: ["forEachBlobStore"],
    hungAfterMinutes: 15,
    services: [() => s3Service(startVersitygw)],
  },
  {
    name: "postgres",
    lane: 1,
    files: ["apps/server/**/*.test.ts", "test/flows/*.test.ts"],
    containing: ["forEachDatabase", "forEachBlobStore", "BERTH_TEST_POSTGRES_URL"],
    hungAfterMinutes: 15,
    services: [postgresService, () => s3Service(startCephRgw)],
    // The other half has run in `unit`.
    env: { BERTH_TEST_SQLITE: "no" },
  },
  { name: "conformance", lane: 2, files: ["test/conformance/*.test.ts"], hungAfterMinutes: 20 },
  { name: "openapi", lane: 2, files: ["test/openapi/*.test.ts"], hungAfterMinutes: 20 },
  { name: "replicas", lane: 2, files: ["test/replicas/*.test.ts"], hungAfterMinutes: 20 },
  { name: "guide", lane: 2, files: ["test/docs/feature/*.test.ts"], hungAfterMinutes: 10 },
  { name: "clients", lane: 1, files: ["test/clients/*.test.ts"], hungAfterMinutes: 20 },
  { name: "failure", lane: 2, files: ["test/failure/*.test.ts"], hungAfterMinutes: 20 },
  { name: "versions", lane: 2, files: ["test/versions/*.test.ts"], hungAfterMinutes: 20 },
  { name: "deploy", lane: 1, files: ["test/deploy/*.test.ts"], hungAfterMinutes: 20 },
];

/** The result of a suite. */
export interface SuiteResult extends TestCounts {
  readonly name: string;
  readonly seconds: number;
  /** The variables with the addresses of the suite's servers. */
  readonly provided: readonly string[];
}

/** The one line that closes a suite; `.ci/run` adds these lines up. */
export function closingLine(result: Pick<SuiteResult, "name" | "passed" | "failed" | "skipped">): string {
  return `suite ${result.name}: ${result.passed} passed, ${result.failed} failed, ${result.skipped} skipped`;
}

/**
 * The skips that count as failures. With `ci`, each does, unless its reason says that this machine cannot run the test (`cannotRunHere`, or
 * the folder `../shared` of test material that not every machine has), or that it needs another suite's server (`BERTH_TEST_... is not
 * set`).
 */
export function unexcusedSkips(result: Pick<SuiteResult, "skips" | "provided">): TestCounts["skips"] {
  return result.skips.filter(({ reason }) => {
    const unset = /^(BERTH_TEST_\w+) is not set/.exec(reason)?.[1];
    if (unset !== undefined) return result.provided.includes(unset);
    return !reason.startsWith(cannotRunHere) && !reason.includes("../shared");
  });
}

/** Parses the output of count-reporter.ts; a runner that died before its end counts as one failure. */
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

/** Where a suite writes: a file descriptor for its tests, and a function for lines about them. */
interface Output {
  readonly descriptor: number | "inherit";
  print(line: string): void;
}

async function runSuite(suite: Suite, files: readonly string[], { descriptor, print }: Output): Promise<SuiteResult> {
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
        print(`suite ${suite.name}: without ${reason}`);
        skips.push({ name: error.tool, reason });
      }
    }
    // Without any of its servers a suite would only repeat what `unit` did.
    const pointless = suite.services !== undefined && running.length === 0;
    const env = Object.assign({}, ...running.map((service) => service.env)) as Record<string, string>;
    const counts = pointless
      ? { passed: 0, failed: 0, skipped: 0, skips: [] }
      : await runFiles(files, suite.hungAfterMinutes, { ...suite.env, ...env }, descriptor);
    const allSkips = [...counts.skips, ...skips];
    const seconds = (performance.now() - startedAt) / 1000;
    const provided = Object.keys(env);
    return { ...counts, name: suite.name, skipped: allSkips.length, skips: allSkips, provided, seconds };
  } finally {
    for (const service of running) await service.stop();
  }
}

async function runFiles(
  files: readonly string[],
  hungAfterMinutes: number,
  env: Readonly<Record<string, string>>,
  output: Output["descriptor"],
): Promise<TestCounts> {
  const countsFile = join(tmpdir(), `berth-test-counts-${randomUUID()}`);
  const args = [
    "--test",
    // Two: the smallest CI machines have two cores, and one file can work while the other waits.
    "--test-concurrency=2",
    `--test-timeout=${hungAfterMinutes * 60_000}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    "--test-reporter=./test/tools/count-reporter.ts",
    `--test-reporter-destination=${countsFile}`,
  ];
  // Only the suite decides which servers its tests use, not the caller's environment.
  const { BERTH_TEST_POSTGRES_URL: _url, BERTH_TEST_S3: _s3, NODE_TEST_CONTEXT: _context, ...outer } = process.env;
  // Each file is a process of its own, and so is each server that a test starts: they share the compile cache.
  const cache = { NODE_COMPILE_CACHE: join(process.cwd(), "node_modules/.cache/compiled") };
  const child = spawn(process.execPath, [...args, ...files], { stdio: ["inherit", output, output], env: { ...cache, ...outer, ...env } });
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

/** One after the other. What suites of several lanes write is shown suite by suite, each when it has ended: mixed lines help nobody. */
async function runLane(lane: readonly Suite[], isAlone: boolean): Promise<SuiteResult[]> {
  const results: SuiteResult[] = [];
  for (const suite of lane) {
    const files = filesOf(suite);
    if (files.length === 0) {
      console.log(`suite ${suite.name} has no test files`);
      continue;
    }
    const result = isAlone ? await runSuite(suite, files, { descriptor: "inherit", print: console.log }) : await runHeldBack(suite, files);
    results.push(closeSuite(result));
  }
  return results;
}

async function runHeldBack(suite: Suite, files: readonly string[]): Promise<SuiteResult> {
  const held = join(tmpdir(), `berth-test-output-${randomUUID()}`);
  const descriptor = openSync(held, "a");
  console.log(`suite ${suite.name} began; what it says is shown at its end (until then: ${held})`);
  try {
    return await runSuite(suite, files, { descriptor, print: (line) => writeSync(descriptor, `${line}\n`) });
  } finally {
    closeSync(descriptor);
    process.stdout.write(readFileSync(held));
    rmSync(held, { force: true });
  }
}

/** Prints how a suite went, and with CI counts a skip that nothing excuses as a failure. */
function closeSuite(result: SuiteResult): SuiteResult {
  for (const skip of result.skips) console.log(`skipped ${skip.name}: ${skip.reason || "no reason given"}`);
  const unexcused = process.env["CI"] === "true" ? unexcusedSkips(result) : [];
  for (const skip of unexcused) console.log(`failed ${skip.name}: CI skips nothing that this machine could run`);
  const counted = { ...result, failed: result.failed + unexcused.length, skipped: result.skipped - unexcused.length };
  console.log(closingLine(counted));
  return counted;
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
  const chosen = suites.filter((suite) => names.includes("all") || names.includes(suite.name));
  const lanes = [1, 2].map((lane) => chosen.filter((suite) => suite.lane === lane)).filter((lane) => lane.length > 0);
  const isAlone = lanes.length === 1;
  const finished = await Promise.all(lanes.map((lane) => runLane(lane, isAlone)));
  const results = finished.flat().toSorted((a, b) => known.indexOf(a.name) - known.indexOf(b.name));
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
