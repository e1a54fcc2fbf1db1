// Real servers that tests run against: PostgreSQL, two S3 stores (Ceph RGW, versitygw) and two peer registries. Container daemons (clients
// of a registry) are in daemons.ts; the binaries come from install.ts.
// All listen on 127.0.0.1, keep their files in a temporary folder, and end with this process.
import { execFile, spawn, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { appendFile, chown, mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { CreateBucketCommand, S3Client } from "@aws-sdk/client-s3";
import pg from "pg";
import { cacheFolder, ensureTool, findInPath, ToolUnavailable, withLock } from "./install.ts";
import { answersHttp, atOurEnd, freePort, type Program, startProgram, temporaryFolder } from "./processes.ts";

const run = promisify(execFile);

/** A PostgreSQL 15 cluster of our own, with fsync on. */
export interface PostgresServer {
  /** Superuser url of the database `postgres`. */
  readonly url: string;
  readonly port: number;
  /** The file of its log. */
  readonly logFile: string;
  /** Creates an empty database and returns its url. It lives as long as the server. */
  createDatabase(): Promise<string>;
  /** Runs SQL as superuser in the database `postgres`, and gives the rows. */
  query(sql: string): Promise<Record<string, unknown>[]>;
  /** Stops the server at once, without a checkpoint, as a power cut would. The files stay. */
  crash(): Promise<void>;
  /** Kills all its processes with SIGKILL, as if its machine failed. The files stay. */
  kill(): Promise<void>;
  /** Pauses all its processes, so that connections stay open and nothing answers; `letGo` continues them. */
  hold(): Promise<void>;
  letGo(): Promise<void>;
  /** Starts the crashed server again: same url, same files. */
  resume(): Promise<void>;
  /** Makes a standby a primary, as `pg_ctl promote` does, and waits until it is one. */
  promote(): Promise<void>;
  stop(): Promise<void>;
}

/** How a server is started. */
export interface PostgresOptions {
  /** Further settings, such as `max_connections=20`. */
  readonly settings?: readonly string[];
  /**
   * An address besides 127.0.0.1 to listen on, and the network from which connections are accepted. Only for addresses that a test has
   * created itself.
   */
  readonly beyond?: { readonly address: string; readonly network: string };
  /** A folder, for example on a small disk, that holds the cluster's files instead of a temporary one. It is not removed. */
  readonly filesIn?: string;
  /** The same for the write-ahead log alone. */
  readonly logIn?: string;
}

/** Starts PostgreSQL; as root it runs as Debian's user `postgres`. Errors: ToolUnavailable. */
export function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  return startCluster("postgres", options, async ({ files, log, folder, account, binary }) => {
    const where = log === undefined ? [] : ["--waldir", log];
    await run(binary("initdb"), ["-D", files, ...where, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"], {
      cwd: folder,
      ...account,
    });
  });
}

/** Starts a standby that streams from the primary. The primary waits for it once `synchronous_standby_names` says so. Errors: ToolUnavailable. */
export function startStandby(primary: PostgresServer, options: PostgresOptions = {}): Promise<PostgresServer> {
  return startCluster("postgres-standby", options, async ({ files, folder, account, binary }) => {
    const from = ["-h", "127.0.0.1", "-p", String(primary.port), "-U", "postgres"];
    await run(binary("pg_basebackup"), [...from, "-D", files, "-X", "stream", "-c", "fast", "-R"], { cwd: folder, ...account });
  });
}

/** A primary and a standby that confirms every commit before it is acknowledged. */
export interface PostgresPair {
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  /** The address of the empty database that is on both, with one host first. */
  urlOf(first: PostgresServer): string;
  stop(): Promise<void>;
}

/** Starts both and waits until commits wait for the standby. Errors: ToolUnavailable. */
export async function startPostgresPair(): Promise<PostgresPair> {
  const primary = await startPostgres();
  const stops = [primary.stop];
  const stop = async (): Promise<void> => {
    for (const each of stops.toReversed()) await each();
  };
  try {
    const { pathname } = new URL(await primary.createDatabase());
    const standby = await startStandby(primary);
    stops.push(standby.stop);
    await primary.query("alter system set synchronous_standby_names = '*'");
    await primary.query("select pg_reload_conf()");
    for (;;) {
      const [row] = await primary.query("select sync_state from pg_stat_replication");
      if (row?.["sync_state"] === "sync") break;
      await sleep(50);
    }
    return {
      primary,
      standby,
      urlOf(first) {
        const hosts = [first, first === primary ? standby : primary].map(({ port }) => `127.0.0.1:${port}`);
        return `postgres://postgres@${hosts.join(",")}${pathname}?target_session_attrs=read-write`;
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The settings of a server that archives its log into a folder. */
export function archiveSettings(folder: string): readonly string[] {
  return ["archive_mode=on", `archive_command=test ! -f ${folder}/%f && cp %p ${folder}/%f`];
}

/** Makes the folder that a server's log is archived into. */
export async function makeArchiveFolder(): Promise<string> {
  await ensureTool("postgres");
  const folder = await temporaryFolder("postgres-archive");
  if (process.getuid?.() === 0) {
    const { uid, gid } = await accountOf("postgres");
    await chown(folder, uid, gid);
  }
  return folder;
}

/** Takes the copy of a server that archives into `folder`. */
export async function takeBaseBackup(server: PostgresServer, folder: string): Promise<string> {
  const base = join(folder, "base");
  const account = process.getuid?.() === 0 ? await accountOf("postgres") : undefined;
  const program = join(dirname(await ensureTool("postgres")), "pg_basebackup");
  await run(program, ["-h", "127.0.0.1", "-p", String(server.port), "-U", "postgres", "-D", base, "-c", "fast"], {
    cwd: folder,
    ...account,
  });
  return base;
}

/** Starts another server from the copy, with the state of a moment, as `clock_timestamp()` of the first one returned it. */
export function startAtMoment(folder: string, moment: string): Promise<PostgresServer> {
  return startCluster("postgres-restored", {}, async ({ files, account }) => {
    await run("cp", ["-a", join(folder, "base"), files], { ...account });
    const recovery = [`restore_command = 'cp ${folder}/%f %p'`, `recovery_target_time = '${moment}'`, "recovery_target_action = 'promote'"];
    await appendFile(join(files, "postgresql.auto.conf"), `${recovery.join("\n")}\n`);
    await run("touch", [join(files, "recovery.signal")], { ...account });
  });
}

interface ClusterFiles {
  readonly files: string;
  /** The place of the write-ahead log, if it is not among the files. */
  readonly log: string | undefined;
  readonly folder: string;
  readonly account: { readonly uid: number; readonly gid: number } | undefined;
  /** The path of one of PostgreSQL's programs. */
  binary(name: string): string;
}

async function startCluster(
  name: string,
  options: PostgresOptions,
  initialise: (cluster: ClusterFiles) => Promise<void>,
): Promise<PostgresServer> {
  const postgres = await ensureTool("postgres");
  const folder = await temporaryFolder(name);
  // PostgreSQL refuses to run as root.
  const account = process.getuid?.() === 0 ? await accountOf("postgres") : undefined;
  if (account !== undefined) await chown(folder, account.uid, account.gid);
  async function ownFolder(parent: string, of: string): Promise<string> {
    const made = join(parent, of);
    await mkdir(made, { mode: 0o700 });
    if (account !== undefined) await chown(made, account.uid, account.gid);
    return made;
  }
  const files = options.filesIn === undefined ? join(folder, "files") : await ownFolder(options.filesIn, "postgres");
  const log = options.logIn === undefined ? undefined : await ownFolder(options.logIn, "postgres-log");
  const binary = (program: string): string => join(dirname(postgres), program);
  await initialise({ files, log, folder, account, binary });
  const { beyond } = options;
  if (beyond !== undefined) await appendFile(join(files, "pg_hba.conf"), `host all all ${beyond.network} trust\n`);
  const port = await freePort();
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  const addresses = beyond === undefined ? "127.0.0.1" : `127.0.0.1,${beyond.address}`;
  const settings = [
    `listen_addresses=${addresses}`,
    "unix_socket_directories=",
    "fsync=on",
    "max_connections=200",
    ...(options.settings ?? []),
  ];
  const start = () =>
    startProgram({
      command: postgres,
      args: ["-D", files, "-p", String(port), ...settings.flatMap((setting) => ["-c", setting])],
      folder,
      ...account,
      ready: async () => {
        await query(url, "SELECT 1");
        return true;
      },
      // SIGINT: end sessions, then shut down. SIGQUIT: every process at once, where SIGKILL would orphan the sessions.
      stopSignal: "SIGINT",
      exitSignal: "SIGQUIT",
    });
  let program: Program = await start();
  /** The server's processes, its first one first. */
  async function processes(): Promise<number[]> {
    const children = await readFile(`/proc/${program.pid}/task/${program.pid}/children`, "utf8");
    return [program.pid, ...children.split(" ").filter(Boolean).map(Number)];
  }
  async function signalAll(signal: NodeJS.Signals): Promise<void> {
    for (const pid of await processes()) {
      try {
        process.kill(pid, signal);
      } catch (error) {
        // One that ended meanwhile.
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
  }
  return {
    url,
    port,
    logFile: program.logFile,
    createDatabase: async () => {
      const database = `berth_test_${randomBytes(6).toString("hex")}`;
      await query(url, `CREATE DATABASE ${database}`);
      return url.replace(/postgres$/, database);
    },
    query: (sql) => query(url, sql),
    crash: () => program.end("SIGQUIT"),
    kill: async () => {
      await signalAll("SIGKILL");
      await program.end("SIGKILL");
    },
    hold: () => signalAll("SIGSTOP"),
    letGo: () => signalAll("SIGCONT"),
    resume: async () => {
      program = await start();
    },
    promote: async () => {
      await run(binary("pg_ctl"), ["promote", "-D", files, "-w"], { cwd: folder, ...account });
    },
    stop: async () => {
      // A paused process would not receive the signal; a killed one is gone.
      await signalAll("SIGCONT").catch(() => undefined);
      await program.stop();
    },
  };
}

/** How to reach an S3 store; as JSON it is the value of `BERTH_TEST_S3`. */
export interface S3Target {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly bucket: string;
}

/** A running S3 store with one empty bucket of ours. */
export interface S3Server {
  readonly target: S3Target;
  /** Creates one more empty bucket and returns how to reach it. */
  createBucket(): Promise<S3Target>;
  stop(): Promise<void>;
}

/** Ceph's gateway, with the files that its own tools need. */
export interface CephServer extends S3Server {
  /** Holds `ceph.conf`, and logs below `log`. */
  readonly folder: string;
}

// The script that starts Ceph fixes the port and the keys.
const cephEndpoint = "http://127.0.0.1:17480";
const cephScript = join(import.meta.dirname, "../../../shared/scripts/ceph-rgw-up.sh");

/**
 * Ceph's object gateway. Its port is fixed, so all processes of this machine share one instance: each user holds a shared file lock, and
 * the last one stops it. Errors: ToolUnavailable, also if the script's folder is missing.
 */
export async function startCephRgw(): Promise<CephServer> {
  if (!existsSync(cephScript)) throw new ToolUnavailable("radosgw", `${cephScript} is absent`, true);
  await ensureTool("radosgw");
  const flock = findInPath("flock");
  if (flock === undefined) throw new ToolUnavailable("radosgw", "flock(1) is absent", true);
  const folder = join(cacheFolder(), "ceph");
  const lock = join(cacheFolder(), "locks", "ceph-users");
  let leave: (() => void) | undefined;
  await withLock("ceph-start", async () => {
    const user = spawn(flock, ["--no-fork", "-s", lock, "sh", "-c", "echo held; exec cat >/dev/null"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    await new Promise((resolve, reject) => {
      user.stdout.once("data", resolve);
      user.once("error", reject);
    });
    leave = () => {
      // --no-fork and exec: the pid is the reader's, whose end releases the lock.
      user.kill("SIGKILL");
      // The next start needs the ports: waits for each process's end, at most 10 s.
      const end = `pid=$(cat "$f"); kill -9 $pid; n=0; while kill -0 $pid 2>/dev/null && [ $((n += 1)) -lt 200 ]; do sleep 0.05; done`;
      const kill = `for f in '${folder}'/run/*.pid; do [ -e "$f" ] && { ${end}; }; done; rm -rf '${folder}'`;
      // 2 s: a killed holder has surely released it by then; other users hold it for much longer.
      spawnSync(flock, ["-x", "-w", "2", lock, "sh", "-c", kill], { stdio: "ignore" });
    };
    if (!(await answersHttp(cephEndpoint).catch(() => false))) {
      const env = { ...process.env, CEPH_DIR: folder };
      const { stdout } = await run("bash", [cephScript], { env }).catch((error: unknown) => {
        leave?.();
        throw error;
      });
      if (!stdout.includes("user-ok")) {
        leave();
        throw new Error(`Ceph did not come up:\n${stdout}`);
      }
    }
  });
  const finish = () => leave?.();
  const callOff = atOurEnd(finish);
  const server = await s3Server({ endpoint: cephEndpoint, region: "default", accessKeyId: "AK", secretAccessKey: "SK" }, async () => {
    callOff();
    finish();
  });
  return { ...server, folder };
}

/**
 * versitygw over a temporary folder: a second dialect of S3. `address`: another one than 127.0.0.1, which a test has created itself;
 * `keepsConnections`: like other services, although it does not by default. Errors: ToolUnavailable.
 */
export async function startVersitygw({
  address = "127.0.0.1",
  keepsConnections = false,
}: { readonly address?: string; readonly keepsConnections?: boolean } = {}): Promise<S3Server> {
  const command = await ensureTool("versitygw");
  const folder = await temporaryFolder("versitygw");
  await mkdir(join(folder, "buckets"));
  const port = await freePort();
  const more = keepsConnections ? ["--keep-alive"] : [];
  const account = { accessKeyId: "berth-test", secretAccessKey: randomBytes(12).toString("hex") };
  const program = await startProgram({
    command,
    args: ["--port", `${address}:${port}`, "--region", "us-east-1", ...more, "posix", join(folder, "buckets")],
    folder,
    env: { ROOT_ACCESS_KEY: account.accessKeyId, ROOT_SECRET_KEY: account.secretAccessKey },
    ready: () => answersHttp(`http://${address}:${port}/`),
  });
  return s3Server({ endpoint: `http://${address}:${port}`, region: "us-east-1", ...account }, () => program.stop());
}

async function s3Server(account: Omit<S3Target, "bucket">, stop: () => Promise<void>): Promise<S3Server> {
  const createBucket = async () => {
    const bucket = `berth-test-${randomBytes(6).toString("hex")}`;
    const { endpoint, region, accessKeyId, secretAccessKey } = account;
    const credentials = { accessKeyId, secretAccessKey };
    const client = new S3Client({ endpoint, region, forcePathStyle: true, credentials });
    try {
      await client.send(new CreateBucketCommand({ Bucket: bucket }));
    } finally {
      client.destroy();
    }
    return { ...account, bucket };
  };
  try {
    return { target: await createBucket(), createBucket, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  // A connection that breaks also emits this event, which would end the process without a listener.
  client.on("error", () => undefined);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

async function accountOf(user: string): Promise<{ uid: number; gid: number }> {
  const [uid, gid] = await Promise.all([run("id", ["-u", user]), run("id", ["-g", user])]);
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
}
