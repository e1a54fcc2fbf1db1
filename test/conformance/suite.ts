// Runs the conformance suite with every optional part enabled, and checks its results: no test may fail, be skipped or be disabled. Not
// here: the registries under test (conformance.test.ts, and the replicas' tests).
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { promisify } from "node:util";
import { temporaryFolder } from "../tools/processes.ts";

const run = promisify(execFile);

/** Everything that the suite leaves out by default. */
const EVERYTHING = {
  OCI_API_BLOBS_DIGEST_HEADER: "true",
  OCI_API_BLOBS_UPLOAD_CANCEL: "true",
  OCI_API_MANIFESTS_DIGEST_HEADER: "true",
  OCI_API_MANIFESTS_TAG_PARAM: "true",
  OCI_DATA_SPARSE: "true",
};

/** Fewer than the suite of the pinned version has: a partial run must not pass. */
const TESTS_AT_LEAST = 1000;

/** The registry under test, and the user that the suite signs in as. */
export interface ConformanceTarget {
  /** `HOST:PORT`, plain HTTP. */
  readonly host: string;
  readonly user: { readonly name: string; readonly password: string };
  /** The prefix of its repositories' names; empty for repositories of a default project. */
  readonly prefix?: string;
}

/** Runs the suite at `suite` in a version of the specification; every test of it must run and pass. */
export async function runConformance(
  t: TestContext,
  suite: string,
  { host, user, prefix = "library/" }: ConformanceTarget,
  version: string,
): Promise<void> {
  await t.test(`version ${version}`, async (step) => {
    const folder = await temporaryFolder("conformance");
    step.after(() => rm(folder, { recursive: true, force: true }));
    // Only these variables: the suite reads further OCI_* variables, which could disable parts of it.
    const outer = Object.entries(process.env).filter(([name]) => !name.startsWith("OCI_"));
    const env = {
      ...Object.fromEntries(outer),
      ...EVERYTHING,
      OCI_VERSION: version,
      OCI_REGISTRY: host,
      OCI_TLS: "disabled",
      OCI_REPO1: `${prefix}conformance-${version.replace(".", "-")}-1`,
      OCI_REPO2: `${prefix}conformance-${version.replace(".", "-")}-2`,
      OCI_USERNAME: user.name,
      OCI_PASSWORD: user.password,
      OCI_RESULTS_DIR: join(folder, "results"),
    };
    // It exits with 1 if a test failed; the results then say more than its output.
    const output = await run(suite, [], { cwd: folder, env, maxBuffer: 64 * 1024 * 1024 }).catch((error: { stdout?: string }) => error);
    const junit = await readFile(join(folder, "results/junit.xml"), "utf8").catch((error: unknown) => {
      throw new Error(`the suite left no results: ${output.stdout ?? ""}`, { cause: error });
    });
    const summary = await readFile(join(folder, "results/results.yaml"), "utf8");
    const counts = countsOf(junit);
    step.diagnostic(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
    // The file lists the configuration first, then the results; each line of those must end in Pass.
    const results = summary.slice(summary.search(/^apis:$/m)).split("\n");
    const notPassed = results.filter((line) => /^\s+\S/.test(line) && !line.endsWith(": Pass")).map((line) => line.trim());
    assert.deepEqual(notPassed, [], problemsOf(junit));
    assert.deepEqual([counts.failed, counts.skipped, counts.other], [0, 0, 0], problemsOf(junit));
    assert.ok(counts.tests >= TESTS_AT_LEAST, `only ${counts.tests} tests ran`);
    assert.ok(results.length > 40, `only these were examined:\n${results.join("\n")}`);
    // Disabled parts are not run, so they only appear in the configuration.
    assert.deepEqual(summary.match(/^ {4,}\w+: false$/gm), null, "the suite has a part switched off");
  });
}

interface SuiteCounts {
  readonly tests: number;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Errors, and cases with an unknown status, such as disabled. */
  readonly other: number;
}

/** Reads the totals, and every case's status beside them. */
function countsOf(junit: string): SuiteCounts {
  const head = /<testsuite\s[^>]*>/.exec(junit)?.[0] ?? "";
  const total = (name: string) => Number(new RegExp(`\\s${name}="(\\d+)"`).exec(head)?.[1] ?? 0);
  const cases = [...junit.matchAll(/<testcase\s[^>]*\sstatus="([^"]*)"/g)].map((match) => match[1]);
  const strange = cases.filter((status) => status !== "passed" && status !== "failure" && status !== "skipped").length;
  const [tests, failed, skipped] = [total("tests"), total("failures"), total("skipped")];
  return { tests, failed, skipped, passed: tests - failed - skipped, other: total("errors") + total("disabled") + strange };
}

/** The names of the cases that did not pass, for the failure's message. */
function problemsOf(junit: string): string {
  const cases = [...junit.matchAll(/<testcase name="([^"]*)"[^>]*\sstatus="([^"]*)"/g)];
  return cases
    .filter((match) => match[2] !== "passed")
    .map((match) => `${match[2]}: ${match[1]}`)
    .slice(0, 60)
    .join("\n");
}
