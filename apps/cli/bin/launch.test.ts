// The starters: they run the pinned Node.js whatever started them, and pass on arguments, input and exit code.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { delimiter, join } from "node:path";
import { it } from "node:test";

/** A Node.js on this machine that is too old for the sources. */
function findOldNode(): string | undefined {
  const candidates = (process.env["PATH"] ?? "").split(delimiter).map((directory) => join(directory, "node"));
  return candidates.find((node) => {
    const { stdout, status } = spawnSync(node, ["--version"], { encoding: "utf8" });
    const major = Number(/^v(\d+)/.exec(stdout ?? "")?.[1]);
    return status === 0 && major >= 18 && major < 26;
  });
}

const oldNode = findOldNode();
const env = { XDG_CONFIG_HOME: "/nonexistent", HOME: "/nonexistent" };

for (const [name, node] of [
  ["the pinned Node.js", process.execPath],
  ["an older Node.js", oldNode],
] as const) {
  it(`berth starters: on ${name}`, { skip: node === undefined ? "cannot run here: no Node.js from 18 to 25 in PATH" : false }, () => {
    const run = (program: string, args: readonly string[], input = "") =>
      spawnSync(node!, [join(import.meta.dirname, `${program}.mjs`), ...args], { encoding: "utf8", env, input });
    const help = run("berth", ["project", "create", "--help"]);
    assert.equal(help.status, 0, help.stderr);
    assert.match(help.stdout, /^berth project create PROJECT/);
    assert.equal(run("berth", ["nothing like that"]).status, 64);
    const helper = run("docker-credential-berth", ["get"], "registry.example.com");
    assert.deepEqual([helper.status, helper.stdout], [1, "credentials not found in native keychain\n"]);
  });
}
