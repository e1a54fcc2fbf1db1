// Runs the blocks of commands of one page as printed, in order and in one shell, against a Berth that was started for the page like `npm
// start` does. Not here: the list of blocks (pages.ts). Differences from a reader's machine: the server has another port, and places
// outside the reader's folder (`/mnt`, `/var/lib`) are in a temporary one, so both are replaced in the text; curl fails for an answer of
// 400 and more.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ensureTool, type ToolName } from "../tools/install.ts";
import { answersHttp, atOurEnd, freePort, type Program, startProgram, temporaryFolder } from "../tools/processes.ts";
import { type CommandBlock, needsOf, type Page, ROOT } from "./pages.ts";

/** The parts of the repository that a page's folder shares. */
const SHARED = ["apps", "config.example.yaml", "deploy", "docs", "package.json"];
const LAUNCHER = join(ROOT, "apps/server/bin/berth-server.mjs");

/** Daemons that a page's clients speak to. */
export interface PageTools {
  /** The address of a docker daemon, for `DOCKER_HOST`. */
  readonly dockerHost?: string;
  /** A containerd's socket, for `CONTAINERD_ADDRESS`. */
  readonly containerdAddress?: string;
}

/** Runs the runnable blocks of a page; returns their number. */
export async function runPage(page: Page, tools: PageTools = {}): Promise<number> {
  const blocks = page.blocks.filter((block) => block.notRun === undefined);
  const folder = await temporaryFolder("page");
  const bin = join(folder, "bin");
  const reader = join(folder, "berth");
  for (const each of [bin, reader, join(folder, "home"), join(folder, "mnt"), join(folder, "var-lib")]) await mkdir(each);
  for (const name of SHARED) await symlink(join(ROOT, name), join(reader, name));
  await writeFile(join(folder, "home/.curlrc"), "silent\nshow-error\nfail-with-body\n");
  // A service's data directory is the reader's: commands name it beside `data`.
  await symlink(join(reader, "data"), join(folder, "var-lib/berth"));
  await symlink(process.execPath, join(bin, "node"));
  await writeFile(join(bin, "berth-server"), `#!/bin/sh\nexec '${process.execPath}' '${LAUNCHER}' "$@"\n`, { mode: 0o755 });
  for (const name of ["berth", "docker-credential-berth"]) {
    const file = join(ROOT, `apps/cli/bin/${name}.mjs`);
    await writeFile(join(bin, name), `#!/bin/sh\nexec '${process.execPath}' '${file}' "$@"\n`, { mode: 0o755 });
  }
  for (const name of needsOf(page)) {
    // `ctr2` is the tests' name for the `ctr` of containerd 2.
    await symlink(await ensureTool(name as ToolName), join(bin, name.replace(/\d$/, "")));
  }

  const oldRegistry = page.needsOldRegistry ? await startOldRegistry() : undefined;
  const berth = await startReadersBerth(folder, reader).catch(async (error: unknown) => {
    await oldRegistry?.program.stop();
    throw error;
  });
  try {
    const places: readonly (readonly [string, string])[] = [
      ["127.0.0.1:5000", berth.host],
      ["127.0.0.1:5001", oldRegistry?.host ?? "127.0.0.1:5001"],
      ["/mnt/", `${folder}/mnt/`],
      ["/var/lib/", `${folder}/var-lib/`],
    ];
    const place = (text: string) => places.reduce((done, [from, to]) => done.replaceAll(from, to), text);
    const script = scriptOf(blocks.map((block) => ({ ...block, text: place(block.text) })));
    const env = {
      PATH: `${bin}:${process.env["PATH"] ?? ""}`,
      HOME: join(folder, "home"),
      TMPDIR: folder,
      DOCKER_CONFIG: join(folder, "home/docker"),
      REGISTRY_AUTH_FILE: join(folder, "home/auth.json"),
      XDG_RUNTIME_DIR: join(folder, "home"),
      ...(tools.dockerHost === undefined ? {} : { DOCKER_HOST: tools.dockerHost }),
      ...(tools.containerdAddress === undefined ? {} : { CONTAINERD_ADDRESS: tools.containerdAddress }),
    };
    const { code, output } = await shell(script, reader, env);
    judge(page, blocks, code, output, place);
    return blocks.length;
  } finally {
    await oldRegistry?.program.stop();
    await berth.program.stop();
  }
}

const MARK = "@@ block ";

/**
 * One script for all blocks, so that variables last from one to the next; each mark follows a line break, for output that ends without one.
 * A block that must fail has a shell of its own.
 */
function scriptOf(blocks: readonly CommandBlock[]): string {
  const parts = blocks.map(({ text, mustFail }, at) => {
    const begin = `echo; echo '${MARK}${at}'`;
    if (!mustFail) return `${begin}\n${text}\n`;
    return `${begin}\nset +e\n(\nset -e\n${text}\n)\ncode=$?\nset -e\nif [ $code = 0 ]; then echo 'This should have failed.'; exit 99; fi\n`;
  });
  return `set -euo pipefail\n${parts.join("")}echo; echo '${MARK}${blocks.length}'\n`;
}

function judge(page: Page, blocks: readonly CommandBlock[], code: number, output: string, place: (text: string) => string): void {
  const outputs = output.split(new RegExp(`^${MARK}\\d+\\n`, "m")).slice(1);
  const last = blocks[outputs.length - 1];
  if (code !== 0) assert.fail(`${page.path}:${last?.line}: ended with ${code}:\n${last?.text}\n---\n${outputs.at(-1)}`);
  assert.equal(outputs.length, blocks.length + 1, `${page.path}: not all blocks ran:\n${output}`);
  for (const [at, block] of blocks.entries()) {
    for (const line of block.printed) {
      const pattern = place(line.trim())
        .split("…")
        .map((part) => RegExp.escape(part))
        .join(".*");
      assert.match(outputs[at]!, new RegExp(pattern), `${page.path}:${block.line} does not print: ${line}\nbut:\n${outputs[at]}`);
    }
  }
}

async function shell(script: string, cwd: string, env: Readonly<Record<string, string>>): Promise<{ code: number; output: string }> {
  const child = spawn("bash", ["-s"], { cwd, env, stdio: ["pipe", "pipe", "pipe"], detached: true });
  const callOff = atOurEnd(() => process.kill(-child.pid!, "SIGKILL"));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece: Buffer) => (output += piece.toString("utf8")));
  // As a file and not as the shell's standard input: a command that reads from there would consume the rest of the script.
  child.stdin.end(`bash <(cat <<'@@ end of page'\n${script}@@ end of page\n) </dev/null 2>&1`);
  const code = await new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exitCode) => resolve(exitCode ?? -1));
  });
  callOff();
  return { code, output };
}

/** Berth as `npm start` starts it in the reader's folder, but for its port. */
async function startReadersBerth(folder: string, reader: string): Promise<{ host: string; program: Program }> {
  let host = "";
  const program = await startProgram({
    command: "sh",
    args: ["-c", `cd '${reader}' && exec '${process.execPath}' '${LAUNCHER}' serve --listen 127.0.0.1:0`],
    folder,
    ready: async () => {
      const line = (await readFile(join(folder, "program.log"), "utf8")).split("\n").find((each) => each.includes('"msg":"ready"'));
      if (line !== undefined) host = new URL((JSON.parse(line) as { address: string }).address).host;
      return line !== undefined;
    },
  });
  return { host, program };
}

/** A registry of distribution without accounts, which many users move away from. */
async function startOldRegistry(): Promise<{ host: string; program: Program }> {
  const folder = await temporaryFolder("old-registry");
  const host = `127.0.0.1:${await freePort()}`;
  const settings = `version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: ${join(folder, "data")}\nhttp:\n  addr: ${host}\n`;
  await writeFile(join(folder, "config.yaml"), settings);
  const program = await startProgram({
    command: await ensureTool("distribution"),
    args: ["serve", join(folder, "config.yaml")],
    folder,
    ready: () => answersHttp(`http://${host}/v2/`),
  });
  return { host, program };
}
