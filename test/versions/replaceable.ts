// A server process at one address whose program is replaced by another version's, as in a rolling upgrade.
// Not here: the versions (release.ts), the clients (mixed-load.ts).
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { ADMIN } from "../replicas/replicas.ts";
import { freePort, startProgram, temporaryFolder, type Program } from "../tools/processes.ts";
import type { Version } from "./release.ts";

/** Settings as flags. */
export type Settings = Readonly<Record<string, string>>;

/** The flags that the program takes. */
export function flagsOf(settings: Settings): string[] {
  return Object.entries(settings).map(([name, value]) => `--${name}=${value}`);
}

/** One server. */
export interface Replaceable {
  /** `127.0.0.1:PORT`, the same for every version that runs there. */
  readonly host: string;
  readonly origin: string;
  /** Stops the running one gently, and starts the version in its place. */
  replaceBy(version: Version): Promise<void>;
  /** Ends gently what runs. */
  end(): Promise<void>;
  /** What all its processes have logged. */
  log(): Promise<string>;
}

/** Creates a server, ended after the test. Its data directory is in `settings`, or one of its own. */
export async function startReplaceable(t: TestContext, version: Version, settings: Settings): Promise<Replaceable> {
  const home = await temporaryFolder("version");
  const port = await freePort();
  const host = `127.0.0.1:${port}`;
  const flags = flagsOf({ data: join(home, "data"), "http.listen": host, "log.format": "json", ...settings });
  const start = async (next: Version): Promise<Program> =>
    startProgram({
      command: process.execPath,
      args: [next.launcher, "serve", ...flags],
      // It disappears with the process: its log is kept here.
      folder: await temporaryFolder("version-log"),
      env: { BERTH_ADMIN_PASSWORD: ADMIN.password },
      ready: async () => (await fetch(`http://${host}/healthz`)).status === 200,
    });
  let logged = "";
  let program: Program | undefined = await start(version);
  async function end(): Promise<void> {
    const ending = program;
    program = undefined;
    if (ending === undefined) return;
    await ending.end("SIGTERM");
    logged += await readFile(ending.logFile, "utf8");
    await ending.stop();
  }
  t.after(async () => {
    await end();
    await rm(home, { recursive: true, force: true, maxRetries: 3 });
  });
  return {
    host,
    origin: `http://${host}`,
    end,
    async replaceBy(next) {
      await end();
      program = await start(next);
    },
    log: async () => logged + (program === undefined ? "" : await readFile(program.logFile, "utf8")),
  };
}
