// Three `berth serve` with their jobs on one PostgreSQL and one store, each in a process of its own behind one proxy; tests kill, pause and
// restart them. Not here: the proxy (round-robin.ts), the pushes (push-load.ts).
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { cephSettings } from "../clients/storage.ts";
import { skipOrThrow } from "../tools/install.ts";
import { freePort, startProgram, temporaryFolder, type Program } from "../tools/processes.ts";
import { startCephRgw, startPostgres, startVersitygw, type PostgresServer } from "../tools/servers.ts";
import { OWN_NETWORK, type NetworkPlace, type OwnNetwork } from "./own-network.ts";
import { startRoundRobin, type RoundRobin } from "./round-robin.ts";

/** Where the replicas keep bytes. */
export type SharedStore = "Ceph" | "versitygw" | "one directory";

/** Puts something between the replicas and their S3; takes its address and returns another. */
export type OnTheWay = (endpoint: string) => Promise<{ readonly origin: string; stop(): Promise<void> }>;

/** The options of a test. */
export interface ReplicasOptions {
  readonly settings?: Readonly<Record<string, string>>;
  readonly onTheWay?: OnTheWay;
  /** A database of the caller, who ends it. Without it: a PostgreSQL for the replicas. */
  readonly database?: { readonly url: string; readonly server: PostgresServer };
  /** Each replica in a namespace of its own, and everything else where the network has its middle. */
  readonly network?: OwnNetwork;
  /** How long a replica may be silent before the proxy gives it up: `AWAY_AFTER_MS` if replicas are paused or cut off. */
  readonly silenceMs?: number;
}

/** Longer than a running replica usually takes to answer, and short enough to wait for; clients retry. */
export const AWAY_AFTER_MS = 4_000;
/** No answer takes so long, however busy the machine is. */
const SILENCE_MS = 120_000;

/** The administrator of every registry under test. */
export const ADMIN = { name: "admin", password: "replica-test-password" };

/** One replica. */
export interface Replica {
  /** `127.0.0.1:PORT`; the same after a restart. */
  readonly host: string;
  readonly origin: string;
  /** Ends it at once and waits for its end. */
  kill(): Promise<void>;
  /** Starts it again after `kill`. */
  start(): Promise<void>;
  /** Pauses the process, like a machine that is suspended or swaps; `resume` continues it. */
  hold(): void;
  resume(): void;
  /** What it has logged since its present process began; lines of JSON. */
  log(): Promise<readonly Readonly<Record<string, unknown>>[]>;
}

/** The whole installation. */
export interface Replicas {
  readonly replicas: readonly [Replica, Replica, Replica];
  readonly proxy: RoundRobin;
  readonly postgres: PostgresServer;
  /** Where their S3 is. */
  readonly store: URL | undefined;
  /** What all of them are started with. */
  readonly settings: Readonly<Record<string, string>>;
}

/** Common settings of the tests. A session's claim, a lease or a job of a killed replica must expire within the test. */
const SETTINGS = {
  "http.trustedProxies": `127.0.0.0/8,${OWN_NETWORK}`,
  "gc.intervalSeconds": "1s",
  "log.level": "info",
  "log.format": "json",
};

const LAUNCHER = join(import.meta.dirname, "../../apps/server/bin/berth-server.mjs");

/** Starts everything and stops it after the test; undefined after a skip. */
export async function startReplicas(
  t: TestContext,
  store: SharedStore,
  { settings = {}, onTheWay, database, network, silenceMs = SILENCE_MS }: ReplicasOptions = {},
): Promise<Replicas | undefined> {
  const stops: (() => Promise<void>)[] = [];
  // In the opposite order: a replica without its database would wait for it in vain.
  t.after(async () => {
    for (const stop of stops.toReversed()) await stop();
  });
  try {
    const postgres = database?.server ?? (await startPostgres(network === undefined ? {} : { beyond: network }));
    if (database === undefined) stops.push(postgres.stop);
    // By the address that the replicas can reach.
    const url = database?.url ?? (await postgres.createDatabase()).replace("127.0.0.1", network?.address ?? "127.0.0.1");
    const secretKey = randomBytes(32).toString("hex");
    const content = await storeSettings(stops, store, onTheWay, network);
    const all = { ...SETTINGS, "database.url": url, "auth.secretKey": secretKey, ...content, ...settings };
    const start = async (at: number): Promise<Replica> => startReplica(stops, all, await network?.join(at));
    const first = await start(1);
    // Beside each other, as a deployment starts them.
    const [second, third] = await Promise.all([start(2), start(3)]);
    const replicas = [first, second, third] as const;
    const proxy = await startRoundRobin({ hosts: replicas.map(({ host }) => host), silenceMs, asksReady: network !== undefined });
    stops.push(proxy.stop);
    const endpoint = content["storage.s3.endpoint"];
    return { replicas, proxy, postgres, store: endpoint === undefined ? undefined : new URL(endpoint), settings: all };
  } catch (error) {
    skipOrThrow(t, error);
    return undefined;
  }
}

async function storeSettings(
  stops: (() => Promise<void>)[],
  store: SharedStore,
  onTheWay: OnTheWay | undefined,
  network: OwnNetwork | undefined,
): Promise<Record<string, string>> {
  if (store !== "one directory") {
    const { target, stop } = store === "Ceph" ? await startCephRgw() : await startVersitygw(network ?? {});
    stops.push(stop);
    const between = await onTheWay?.(target.endpoint);
    if (between !== undefined) stops.push(between.stop);
    return {
      ...cephSettings({ ...target, endpoint: between?.origin ?? target.endpoint }),
      ...(store === "versitygw" ? { "storage.s3.dialect": "generic" } : {}),
    };
  }
  const folder = await temporaryFolder("shared-store");
  stops.push(() => rm(folder, { recursive: true, force: true }));
  return { "storage.filesystem.directory": folder };
}

async function startReplica(
  stops: (() => Promise<void>)[],
  settings: Readonly<Record<string, string>>,
  place: NetworkPlace | undefined,
): Promise<Replica> {
  const data = await temporaryFolder("replica");
  const port = await freePort();
  const host = `${place?.address ?? "127.0.0.1"}:${port}`;
  const flags = Object.entries({ "http.listen": host, data: join(data, "data"), ...settings }).map(([name, value]) => `--${name}=${value}`);
  let program: Program;
  let logOffset = 0;
  const log = async (): Promise<readonly Readonly<Record<string, unknown>>[]> =>
    (await readFile(program.logFile, "utf8"))
      .slice(logOffset)
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  async function start(): Promise<void> {
    program = await startProgram({
      command: place?.enter[0] ?? process.execPath,
      args: [...(place === undefined ? [] : [...place.enter.slice(1), process.execPath]), LAUNCHER, "serve", ...flags],
      folder: data,
      env: { BERTH_ADMIN_PASSWORD: ADMIN.password },
      ready: async () => (await fetch(`http://${host}/healthz`)).status === 200,
    });
  }
  await start();
  // A paused process would not receive a gentle signal.
  stops.push(() => {
    process.kill(program.pid, "SIGCONT");
    return program.stop();
  });
  return {
    host,
    origin: `http://${host}`,
    async kill() {
      await program.end("SIGKILL");
    },
    async start() {
      logOffset = (await readFile(program.logFile, "utf8")).length;
      await start();
    },
    hold: () => void process.kill(program.pid, "SIGSTOP"),
    resume: () => void process.kill(program.pid, "SIGCONT"),
    log,
  };
}

/** A request's parts besides method and address. */
export interface Ask {
  readonly user?: { readonly name: string; readonly password: string };
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  readonly signal?: AbortSignal;
  /** fetch requires this if the body is a stream. */
  readonly duplex?: "half";
}

/** Sends a request as the administrator, or with what the caller gives instead. */
export function ask(
  origin: string,
  method: string,
  path: string,
  { user = ADMIN, token, headers, body, signal, duplex }: Ask = {},
): Promise<Response> {
  const authorization =
    token === undefined ? `Basic ${Buffer.from(`${user.name}:${user.password}`).toString("base64")}` : `Bearer ${token}`;
  return fetch(new URL(path, origin), {
    method,
    redirect: "manual",
    headers: { authorization, ...headers },
    ...(body === undefined ? {} : { body: body as string }),
    ...(duplex === undefined ? {} : { duplex }),
    ...(signal === undefined ? {} : { signal }),
  });
}

/** The answer itself if it has the status; otherwise the test fails and shows it. */
export async function expectStatus(answer: Response, status: number): Promise<Response> {
  if (answer.status !== status) assert.fail(`${answer.url}: expected ${status}, got ${answer.status}: ${await answer.text()}`);
  return answer;
}

/** Waits until `holds` returns true; fails after five minutes, far more than anything here takes. */
export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + 300_000;
  while (!(await holds())) {
    if (performance.now() > giveUpAt) assert.fail(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
