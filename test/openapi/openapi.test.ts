// The served OpenAPI document against the server that serves it: Schemathesis makes requests from the document, right ones and wrong ones, and
// judges each answer by what the document says of it. Not here: what the operations do (test/flows), the worst input (the server's
// http/api/hostile-input.test.ts).
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { it } from "node:test";
import { promisify } from "node:util";
import { startServerProcess } from "../flows/server-process.testing.ts";
import { ADMIN_PASSWORD, temporaryFolder } from "../flows/registry.testing.ts";
import { requireTool } from "../tools/install.ts";

/** Requests that fit the document and are refused all the same: a schema cannot say that an address must be one, or a key stand once. */
const LEFT_OUT = "positive_data_acceptance";

it("the API answers as its OpenAPI document says", async (t) => {
  const schemathesis = await requireTool(t, "schemathesis");
  if (schemathesis === undefined) return;
  const server = await startServerProcess();
  t.after(() => server.clean());
  const folder = await temporaryFolder();
  t.after(() => folder.end());
  const address = `${server.origin}/api/v1`;
  // One worker: with several Python 3.11 fails now and then ("AST constructor recursion depth mismatch").
  const options = ["--phases=coverage,fuzzing", "--max-examples=3", "--workers=1", "--seed=1", "--warnings=off"];
  const { stdout } = await promisify(execFile)(
    schemathesis,
    [
      "--no-color",
      "run",
      `${address}/openapi.json`,
      `--url=${address}`,
      `--auth=admin:${ADMIN_PASSWORD}`,
      `--exclude-checks=${LEFT_OUT}`,
      "--suppress-health-check=all",
      ...options,
    ],
    // It keeps what it has found in a folder below its own.
    { cwd: folder.path, maxBuffer: 64 * 1024 * 1024, timeout: 15 * 60_000 },
  ).catch((error: Error & { readonly stdout?: string }) => {
    throw new Error(`schemathesis found faults\n${error.stdout?.slice(0, 20_000) ?? ""}`, { cause: error });
  });
  const [, tested, selected] = /Selected: (\d+)\/\d+\s+Tested: (\d+)/.exec(stdout) ?? [];
  assert.ok(tested !== undefined && tested === selected, stdout);
});
