// The registries under test: how each is started on an empty folder, restarted, paused and stopped, and those that are
// only given by URL. The load they get is in cases/.
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { ensureTool } from "../tools/install.ts";
import { freePort } from "../tools/processes.ts";
import { readProcessUsage, resetPeakMemory, signalTree } from "./process-usage.ts";
import type { ProcessUsage } from "./process-usage.ts";
import type { Endpoint } from "./registry-session.ts";

const run = promisify(execFile);

/** One registry in the table. */
export interface Registry {
  readonly name: string;
  /** Name, version and conditions, for the legend. */
  readonly label: string;
  readonly endpoint: Endpoint;
  /** Whether deletes are collected while it serves; undefined when nobody told us. */
  readonly collectsOnline: boolean | undefined;
  /** Undefined for a registry given by URL: it is then neither measured from inside nor restarted. */
  readonly process: RegistryProcess | undefined;
  /** Runs `make` once for this registry and key, however many cases ask: seeds are shared. */
  once<T>(key: string, make: () => Promise<T>): Promise<T>;
}

/** The process of a registry that the bench started. */
export interface RegistryProcess {
  usage(): ProcessUsage | undefined;
  resetPeak(): boolean;
  /** Ends it and starts it again on the same data; milliseconds from spawn to the first answer on /v2/. */
  restart(settings?: StartSettings): Promise<number>;
  /** How many files it keeps now. */
  countFiles(): Promise<number>;
  /** Stops it from running at all while another registry is measured. */
  pause(): void;
  resume(): void;
  stop(): Promise<void>;
  /** Ends it by force without waiting: for the end of the bench itself. */
  kill(): void;
}

/** How a start differs from the usual one. */
export interface StartSettings {
  /** Collect at once what is deleted, where the registry would wait for hours and the bench would see nothing of it. */
  readonly collectAtOnce?: boolean;
  /** Write a line for each request. */
  readonly accessLog?: boolean;
}

/** A program that can be started as a registry. */
interface Program {
  readonly name: string;
  readonly collectsOnline: boolean;
  prepare(folder: string, port: number): Promise<Launch>;
}

interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Further environment for `collectAtOnce`. */
  readonly collectAtOnceEnv?: Readonly<Record<string, string>>;
  /** Further environment for `accessLog`. */
  readonly accessLogEnv: Readonly<Record<string, string>>;
  readonly label: string;
  readonly credentials: Endpoint["credentials"];
}

const repositoryRoot = join(import.meta.dirname, "..", "..");

const berth: Program = {
  name: "berth",
  collectsOnline: true,
  prepare: async (folder, port) => {
    const { version, scripts } = JSON.parse(await readFile(join(repositoryRoot, "package.json"), "utf8")) as {
      version: string;
      scripts: { start: string };
    };
    // Just as `npm start` does it.
    const start = scripts.start
      .split(" ")
      .slice(1)
      .map((word) => (word.endsWith(".mjs") ? join(repositoryRoot, word) : word));
    const password = randomBytes(18).toString("base64url");
    return {
      command: process.execPath,
      args: [...start, "--listen", `127.0.0.1:${port}`, "--data", join(folder, "data")],
      env: { BERTH_ADMIN_PASSWORD: password },
      // A push of the bench takes far less than the lease, so that nothing is collected under its hands.
      collectAtOnceEnv: {
        BERTH_GC_LEASE_SECONDS: "5s",
        BERTH_GC_GRACE_SECONDS: "0s",
        BERTH_GC_INTERVAL_SECONDS: "1s",
      },
      accessLogEnv: { BERTH_LOG_REQUESTS: "all" },
      label: `Berth ${version}, authentication on, token sent`,
      credentials: { user: "admin", password },
    };
  },
};

/** Overrides what `writeDistributionConfig` says. */
const DISTRIBUTION_ACCESS_LOG = { REGISTRY_LOG_ACCESSLOG_DISABLED: "false" };

const distribution: Program = {
  name: "distribution",
  collectsOnline: false,
  prepare: async (folder, port) => {
    const command = await ensureTool("distribution");
    const config = await writeDistributionConfig(folder, port);
    // Without this, version 3 tries to reach a trace collector.
    const env = { OTEL_TRACES_EXPORTER: "none" };
    const label = "distribution 3.1.2 (Go), no authentication, which flatters it";
    return { command, args: ["serve", config], env, accessLogEnv: DISTRIBUTION_ACCESS_LOG, label, credentials: undefined };
  },
};

const dockerRegistry: Program = {
  name: "docker-registry",
  collectsOnline: false,
  prepare: async (folder, port) => {
    const command = await ensureTool("docker-registry");
    const { stdout } = await run(command, ["--version"]);
    const version = /\d+\.\d+\.\d+/.exec(stdout)?.[0] ?? "of unknown version";
    const label = `docker-registry ${version} (Debian), no authentication, which flatters it`;
    const config = await writeDistributionConfig(folder, port);
    return { command, args: ["serve", config], env: {}, accessLogEnv: DISTRIBUTION_ACCESS_LOG, label, credentials: undefined };
  },
};

/** The registries that the bench can start by itself; the first is the one that the others are compared with. */
export const programs: readonly Program[] = [berth, distribution, dockerRegistry];

/** The configuration of both generations: its defaults, deletes allowed, and no log of accesses, which flatters them. */
async function writeDistributionConfig(folder: string, port: number): Promise<string> {
  const path = join(folder, "config.json");
  const config = {
    version: 0.1,
    log: { level: "error", accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: join(folder, "data") },
      delete: { enabled: true },
      cache: { blobdescriptor: "inmemory" },
    },
    http: { addr: `127.0.0.1:${port}`, secret: randomBytes(16).toString("hex") },
  };
  // JSON is YAML.
  await writeFile(path, JSON.stringify(config));
  return path;
}

/** Starts a registry on an empty folder. Errors: it cannot be installed, or does not answer within a minute. */
export async function startRegistry(program: Program, folder: string): Promise<Registry> {
  const ownFolder = join(folder, program.name);
  await mkdir(ownFolder, { recursive: true });
  const port = await freePort();
  const base = `http://127.0.0.1:${port}`;
  const launch = await program.prepare(ownFolder, port);
  const registryProcess = await launchProcess(launch, base, ownFolder);
  return {
    name: program.name,
    label: launch.label,
    endpoint: { base, credentials: launch.credentials },
    collectsOnline: program.collectsOnline,
    process: registryProcess,
    once: createOnce(),
  };
}

/**
 * A registry that runs already, given as `name=http://host:port`. User and password come from the variable
 * BENCH_AUTH_NAME (the name in capitals, `_` for all but letters and digits) as `user:password`.
 */
export function registryAtUrl(argument: string): Registry {
  const [, name, address] = /^([^=]+)=(https?:\/\/.+)$/.exec(argument) ?? [];
  if (name === undefined || address === undefined) throw new Error(`--url wants name=http://..., not ${argument}`);
  const secret = process.env[`BENCH_AUTH_${name.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_")}`];
  const colon = secret?.indexOf(":") ?? -1;
  const credentials = secret === undefined || colon < 0 ? undefined : { user: secret.slice(0, colon), password: secret.slice(colon + 1) };
  const base = new URL(address).origin;
  const label = `${name} at ${base}, ${credentials ? "with credentials" : "no authentication"}`;
  const once = createOnce();
  return {
    name,
    label,
    endpoint: { base, credentials },
    collectsOnline: undefined,
    process: undefined,
    once,
  };
}

function createOnce(): Registry["once"] {
  const made = new Map<string, Promise<unknown>>();
  return <T>(key: string, make: () => Promise<T>): Promise<T> => {
    const known = made.get(key) ?? make();
    made.set(key, known);
    return known as Promise<T>;
  };
}

async function launchProcess(launch: Launch, base: string, folder: string): Promise<RegistryProcess> {
  const logPath = join(folder, "log");
  let child = spawnLogged(launch, logPath);
  const pidOf = (): number => child.pid ?? -1;
  await untilAnswering(child, base, logPath);

  const stop = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    signalTree(pidOf(), "SIGCONT");
    child.kill("SIGTERM");
    // A registry that drains longer than this is ended: the bench does not measure its shutdown.
    const timer = setTimeout(() => signalTree(pidOf(), "SIGKILL"), 15_000);
    await ended;
    clearTimeout(timer);
  };
  return {
    usage: () => readProcessUsage(pidOf()),
    resetPeak: () => resetPeakMemory(pidOf()),
    countFiles: async () => {
      const entries = await readdir(join(folder, "data"), { recursive: true, withFileTypes: true });
      return entries.filter((entry) => entry.isFile()).length;
    },
    restart: async (settings) => {
      await stop();
      const env = {
        ...launch.env,
        ...(settings?.collectAtOnce === true && launch.collectAtOnceEnv),
        ...(settings?.accessLog === true && launch.accessLogEnv),
      };
      const spawnedAt = performance.now();
      child = spawnLogged({ ...launch, env }, logPath);
      await untilAnswering(child, base, logPath);
      return performance.now() - spawnedAt;
    },
    pause: () => signalTree(pidOf(), "SIGSTOP"),
    resume: () => signalTree(pidOf(), "SIGCONT"),
    stop,
    kill: () => signalTree(pidOf(), "SIGKILL"),
  };
}

function spawnLogged(launch: Launch, logPath: string): ChildProcess {
  const child = spawn(launch.command, launch.args, {
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "/", ...launch.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const log = createWriteStream(logPath, { flags: "a" });
  child.stdout?.pipe(log, { end: false });
  child.stderr?.pipe(log, { end: false });
  child.once("close", () => log.end());
  return child;
}

async function untilAnswering(child: ChildProcess, base: string, logPath: string): Promise<void> {
  let failure: string | undefined;
  child.once("error", (error) => (failure = error.message));
  const deadline = Date.now() + 60_000;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) failure = `ended with ${child.exitCode}: ${await lastLines(logPath)}`;
    if (failure !== undefined) throw new Error(failure);
    const status = await fetch(`${base}/v2/`).then(
      (answer) => answer.status,
      () => 0,
    );
    if (status === 200 || status === 401) return;
    // Fine enough for start-up times of tens of milliseconds, and no load of its own.
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
  throw new Error(`no answer on ${base}/v2/ within 60 s: ${await lastLines(logPath)}`);
}

/** The end of a log, where a program says why it gave up; the file itself goes with the run's folder. */
async function lastLines(logPath: string): Promise<string> {
  const text = await readFile(logPath, "utf8").catch(() => "");
  return text.trim().split("\n").slice(-5).join(" | ").slice(-500);
}
