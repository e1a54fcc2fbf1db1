// Secrets that commands print: real ones, run by the shell. Not here: those in files (config.test.ts).
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { it } from "node:test";
import { describeSettings } from "./config-document.ts";
import { mapOf, secret } from "./config-kinds.ts";
import { loadConfig, readSettings, takeConfigFlags } from "./config-load.ts";

it("secrets of the configuration come from commands, and none is run that is not wanted", async (t) => {
  const directory = await mkdtemp(join(tmpdir(), "berth-config-"));
  t.after(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, "password"), "from a command\n");
  const load = (flags: readonly string[], environment: Record<string, string> = {}) =>
    loadConfig({ flags: takeConfigFlags(flags).flags, environment, directory });
  const repeated = await readSettings(
    { flags: [], environment: { BERTH_UPSTREAMS_DOCKER_HUB_PASSWORD_COMMAND: "cat password" }, directory },
    { upstreams: mapOf({ password: secret({ about: "Its password." }) }, { about: "Other registries." }) },
  );
  assert.ok(repeated.ok && repeated.values.upstreams["docker-hub"]?.password === "from a command");
  const good = await load(["--auth.adminPasswordCommand", "cat password"]);
  assert.ok(good.ok);
  assert.equal(good.config.auth.adminPassword, "from a command");
  assert.match(describeSettings(good.settings), /auth\.adminPassword +\*{8} +--auth\.adminPasswordCommand\n/);
  const short = await load([], { BERTH_ADMIN_PASSWORD_COMMAND: "printf '%s' 'by its short name'" });
  assert.ok(short.ok && short.config.auth.adminPassword === "by its short name");
  const over = await load(["--adminPassword", "from a flag"], { BERTH_AUTH_ADMIN_PASSWORD_COMMAND: "touch was-run" });
  assert.ok(over.ok && over.config.auth.adminPassword === "from a flag");
  await assert.rejects(readFile(join(directory, "was-run")), { code: "ENOENT" });
  const problemOf = async (command: string): Promise<string> => {
    const result = await load(["--auth.adminPasswordCommand", command]);
    assert.ok(!result.ok);
    return result.problems.map(({ source, message }) => `${source} ${message}`).join();
  };
  assert.equal(await problemOf("echo hunter2; exit 3"), "--auth.adminPasswordCommand cannot be read: the command ended with 3");
  assert.equal(await problemOf("true"), "--auth.adminPasswordCommand cannot be read: the command printed nothing");
  assert.equal(await problemOf("yes"), "--auth.adminPasswordCommand cannot be read: the command printed more than 1048576 bytes");
  assert.equal(await problemOf("kill -9 $$"), "--auth.adminPasswordCommand cannot be read: the command ended with SIGKILL");
  const both = await load(["--auth.adminPasswordCommand", "cat password", "--auth.adminPasswordFile", "password"]);
  assert.ok(!both.ok);
  assert.equal(both.problems[0]?.message, "and --auth.adminPasswordFile are both set: keep one");
});
