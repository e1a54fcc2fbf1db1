// The program: reads its arguments and configuration, plays one role, stops on a signal. Roles: serve, work, migrate, gc, backup, restore,
// doctor, config check, version. Not here: what a role is built of (compose.ts, compose/).
import { join } from "node:path";
import { parseArgs } from "node:util";
import { RegistryError } from "@berth/oci/errors";
import { loadOrCreateMasterKey, parseMasterKey } from "./access/master-key.ts";
import { composeCollector, startRegistry } from "./compose.ts";
import { leaseTimes, withFoundation, type Surroundings } from "./compose/foundation.ts";
import { openDatabase, openReader, openStore, openTracing } from "./compose/openers.ts";
import { describeProblems, describeSettings } from "./config-document.ts";
import { loadConfig, takeConfigFlags, type FlagValue } from "./config-load.ts";
import { EXIT_CONFIG, type Config } from "./config.ts";
import { refuseHalfRestored } from "./features/backup/restore-store.ts";
import { systemClock } from "./platform/clock.ts";
import { findMigrationVersion, LATEST_MIGRATION, migrate } from "./platform/database/migrate.ts";
import { openDataDirectory, type DataDirectory } from "./platform/data-directory.ts";
import { createLog, type Log, type Logger } from "./platform/log.ts";
import { createReport, type Report } from "./platform/report.ts";
import { StartupError } from "./platform/startup-error.ts";
import type { Tracing } from "./platform/tracing.ts";
import { VERSION } from "./platform/version.ts";

const PASSWORD_FILE = "admin-password";
const KEY_FILE = "secret-key";

const USAGE = `berth-server ROLE [SETTINGS]

Roles
  serve [--no-jobs]       answer the API and do the background work (the default role); --no-jobs leaves that to \`work\` processes
  work                    do the background work only; needs PostgreSQL
  migrate [--to N]        bring the database to this program's version, or to version N, forwards or back
  gc [--dry-run [--limit N] [--digest D]]
                          run one round of collection now, or explain what the next would take and what holds all that it would keep, or
                          what holds one blob wherever it is (--digest)
  backup PLACE            back up database and blobs while everything goes on, to a directory or s3://BUCKET/PREFIX
  backup list PLACE       list the snapshots of a place: the moments that can be restored
  backup prune PLACE [--keep N] [--keep-days N] [--dry-run]
                          forget all snapshots but the newest N and those of the last N days, and the bytes that only they needed
  restore PLACE [--at TIME | --snapshot NAME] [--check] [--new-key]
                          restore a backup into an empty database and store, or only read it and verify every byte (--check)
  doctor [--deep] [--repair] [--rate SIZE] [--from ID]
                          compare database and store; --deep reads every byte, SIZE a second at most; --repair puts right what is safe
  config check            print every setting, its value and where it comes from; secrets are masked
  version                 print the version

Settings: --listen HOST:PORT, --data DIRECTORY, --config FILE, and every other one of config.example.yaml as --its.path VALUE; each is also
a BERTH_* variable and a key of the configuration file.

gc --dry-run, backup, restore and doctor: --json for lines of JSON; exit code 0 all is well, 1 something is damaged or wrong, 2 it could not be done.
`;

/** EX_USAGE of sysexits.h: the command line is wrong. */
const EXIT_USAGE = 64;

/** Runs the program with its arguments; gives the exit code, or undefined when it ended well. Never rejects for a user's mistake. */
export async function main(argv: readonly string[]): Promise<number | undefined> {
  const { flags, rest } = takeConfigFlags(argv);
  try {
    const { values, positionals } = parseArgs({
      args: [...rest],
      allowPositionals: true,
      options: {
        "no-jobs": { type: "boolean", default: false },
        "dry-run": { type: "boolean", default: false },
        to: { type: "string" },
        limit: { type: "string" },
        digest: { type: "string" },
        snapshot: { type: "string" },
        at: { type: "string" },
        keep: { type: "string" },
        "keep-days": { type: "string" },
        check: { type: "boolean", default: false },
        "new-key": { type: "boolean", default: false },
        deep: { type: "boolean", default: false },
        repair: { type: "boolean", default: false },
        rate: { type: "string", default: "100MiB" },
        from: { type: "string", default: "0" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
        version: { type: "boolean", short: "V", default: false },
      },
    });
    const { name: asked, place } = roleOf(positionals);
    const name = values.version ? "version" : asked;
    if (values.help) {
      process.stdout.write(USAGE);
      return undefined;
    }
    switch (name) {
      case "serve":
        return await withConfig(flags, (config) => serve(config, !values["no-jobs"]));
      case "work":
        return await withConfig(flags, work);
      case "migrate":
        return await withConfig(flags, (config) => runMigrate(config, values.to));
      case "gc":
        return await withConfig(flags, (config) => (values["dry-run"] ? explainCollection(config, values) : runCollection(config)));
      case "backup":
      case "backup list":
      case "backup prune":
      case "restore":
      case "doctor":
        if (place === undefined && name !== "doctor") break;
        return await withConfig(flags, (config) => runMaintenance(config, name, place ?? "", values));
      case "config check":
        return await checkConfig(flags);
      case "version":
        process.stdout.write(`berth ${VERSION} (database version ${LATEST_MIGRATION}, Node.js ${process.version})\n`);
        return undefined;
      default:
        process.stderr.write(`there is no role \`${name}\`\n\n${USAGE}`);
        return EXIT_USAGE;
    }
    process.stderr.write(`${name} needs a place: a directory or s3://BUCKET/PREFIX\n\n${USAGE}`);
    return EXIT_USAGE;
  } catch (error) {
    if (error instanceof StartupError || isStartProblem(error)) {
      process.stderr.write(`${error.message}\n`);
      return 1;
    }
    // A full disk, a database or store out of reach: nothing that a stack would explain.
    if (error instanceof RegistryError) {
      process.stderr.write(`${describeCauses(error)}\n`);
      return 1;
    }
    if (error instanceof TypeError && String((error as NodeJS.ErrnoException).code).startsWith("ERR_PARSE_ARGS")) {
      process.stderr.write(`${error.message}\n\n${USAGE}`);
      return EXIT_USAGE;
    }
    throw error;
  }
}

const PLACE_ROLES = ["backup list", "backup prune", "backup", "restore"];

/** The role that the words name, and the place behind it where the role takes one. */
function roleOf(words: readonly string[]): { readonly name: string; readonly place: string | undefined } {
  const all = words.join(" ");
  if (all === "" || PLACE_ROLES.includes(all)) return { name: all || "serve", place: undefined };
  const name = words.slice(0, -1).join(" ");
  return PLACE_ROLES.includes(name) ? { name, place: words.at(-1) } : { name: all, place: undefined };
}

function describeCauses(error: Error): string {
  return error.cause instanceof Error ? `${error.message}: ${describeCauses(error.cause)}` : error.message;
}

// An address in use, a port below 1024, a directory that cannot be written: the message says it, a stack would not.
function isStartProblem(error: unknown): error is Error {
  return (
    error instanceof Error &&
    ["EADDRINUSE", "EADDRNOTAVAIL", "EACCES", "ENOTDIR", "EROFS", "ENOSPC", "EDQUOT"].includes((error as NodeJS.ErrnoException).code ?? "")
  );
}

async function withConfig(flags: readonly FlagValue[], play: (config: Config) => Promise<number | undefined>): Promise<number | undefined> {
  const result = await loadConfig({ flags, environment: process.env, directory: process.cwd() });
  if (result.ok) return play(result.config);
  process.stderr.write(describeProblems(result.problems));
  return EXIT_CONFIG;
}

async function checkConfig(flags: readonly FlagValue[]): Promise<number | undefined> {
  const result = await loadConfig({ flags, environment: process.env, directory: process.cwd() });
  if (!result.ok) {
    process.stderr.write(describeProblems(result.problems));
    return EXIT_CONFIG;
  }
  process.stdout.write(describeSettings(result.settings));
  return undefined;
}

/** Opens what every role needs, runs it, and closes in the opposite order. */
async function withSurroundings(
  config: Config,
  play: (surroundings: Surroundings, directory: DataDirectory, log: Log) => Promise<number | undefined>,
): Promise<number | undefined> {
  const directory = await openDataDirectory(config.data);
  let tracing: Tracing | undefined;
  const isTraced = config.tracing.endpoint !== undefined;
  const log = createLog({
    level: config.log.level,
    format: config.log.format,
    ...(isTraced ? { contextFields: () => tracing?.logFields() ?? {} } : {}),
  });
  try {
    tracing = await openTracing(config, log.logger);
    const masterKey = await openMasterKey(config, join(directory.path, KEY_FILE));
    return await play({ config, logger: log.logger, masterKey, tracing }, directory, log);
  } finally {
    await tracing?.close();
    log.flush();
    directory.close();
  }
}

/** The configured key, or that of the file, which is made at the first start. Errors: `StartupError` where the file holds none. */
async function openMasterKey({ auth }: Config, file: string): Promise<Uint8Array> {
  if (auth.secretKey !== undefined) return parseMasterKey(auth.secretKey);
  try {
    return await loadOrCreateMasterKey(file);
  } catch (error) {
    if (isStartProblem(error)) throw error;
    throw new StartupError(`Cannot use the secret key in ${file}: ${(error as Error).message}`, { cause: error });
  }
}

/** Resolves at the first stop signal; a second one ends the process at once. */
function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let isStopping = false;
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (isStopping) process.exit(130);
        isStopping = true;
        resolve(signal);
      });
    }
  });
}

function serve(config: Config, jobs: boolean): Promise<number | undefined> {
  return withSurroundings(config, async (surroundings, directory) => {
    const { logger } = surroundings;
    const stopped = stopSignal();
    let isFirstStart = false;
    const registry = await startRegistry(surroundings, {
      jobs,
      async keepAdminPassword(password) {
        await directory.putSecret(PASSWORD_FILE, password);
        isFirstStart = true;
      },
    });
    const scheme = config.http.tls.certificateFile === undefined ? "http" : "https";
    const host = config.http.listen.host ?? "127.0.0.1";
    const shown = `${host.includes(":") ? `[${host}]` : host}:${registry.port}`;
    logger.info({ address: `${scheme}://${shown}`, version: VERSION, startedAfterMs: Math.round(performance.now()) }, "ready");
    if (process.stdout.isTTY || config.log.format === "pretty" || isFirstStart) {
      greet(`${scheme}://${shown}`, shown, config.auth.adminPassword === undefined ? join(directory.path, PASSWORD_FILE) : undefined);
    }
    const signal = await stopped;
    logger.info({ signal }, "stopping: running requests may end");
    await registry.stop();
    logger.info("stopped");
    return undefined;
  });
}

function greet(url: string, registry: string, passwordFile: string | undefined): void {
  const password = passwordFile === undefined ? '"$BERTH_ADMIN_PASSWORD"' : `"$(cat ${passwordFile})"`;
  process.stdout.write(`
Berth ${VERSION} is ready at ${url}
The administrator is "admin"; ${passwordFile === undefined ? "the password is the one that you configured" : `the password is in ${passwordFile}`}.

Push and pull with docker:
  echo ${password} | docker login ${registry} -u admin --password-stdin
  tar -C /etc -c hostname | docker import - ${registry}/library/hello:v1
  docker push ${registry}/library/hello:v1
  docker pull ${registry}/library/hello:v1

`);
}

async function work(config: Config): Promise<number | undefined> {
  if (config.database.url === undefined) {
    throw new StartupError(
      "`work` shares the background work of many replicas and needs PostgreSQL: set database.url. With the embedded database, `serve` does it.",
    );
  }
  return withSurroundings(config, async (surroundings) => {
    const stopped = stopSignal();
    await withFoundation(surroundings, async (foundation) => {
      const collector = composeCollector(surroundings, foundation);
      collector.start();
      surroundings.logger.info("working");
      await stopped;
      await collector.stop();
    });
    return undefined;
  });
}

async function runMigrate(config: Config, to: string | undefined): Promise<number | undefined> {
  const target = to === undefined ? undefined : Number(to);
  if (target !== undefined && (!Number.isInteger(target) || target < 0 || target > LATEST_MIGRATION)) {
    throw new StartupError(`--to is a version from 0 to ${LATEST_MIGRATION}`);
  }
  return withSurroundings(config, async ({ logger }) => {
    const database = await openDatabase(config, logger);
    try {
      await refuseHalfRestored(database);
      for (const step of await migrate(database, systemClock, target)) process.stdout.write(`${step}\n`);
      const version = await findMigrationVersion(database);
      const newer = version > LATEST_MIGRATION ? `, newer than this program's ${LATEST_MIGRATION}, which may run on it` : "";
      process.stdout.write(`the database is at version ${version}${newer}\n`);
      return undefined;
    } finally {
      await database.close();
    }
  });
}

async function runCollection(config: Config): Promise<number | undefined> {
  return withSurroundings(config, async (surroundings) => {
    await withFoundation(surroundings, async (foundation) => {
      process.stdout.write(`${JSON.stringify(await composeCollector(surroundings, foundation).runOnce())}\n`);
    });
    return undefined;
  });
}

async function explainCollection(
  config: Config,
  options: { readonly json: boolean; readonly limit?: string | undefined; readonly digest?: string | undefined },
): Promise<number> {
  const { runExplain } = await import("./features/collection/explain-command.ts");
  const { limit, digest } = options;
  return maintain(config, "gc", options.json, (parts) => runExplain({ ...parts, config, openReader }, { limit, digest }));
}

/** What the commands open for themselves. */
const OPENERS = { openDatabase, openReader, openStore };

/** Runs a command that leaves standard output to its report: 0 all is well, 1 something is wrong, 2 whatever kept it from its end. */
async function maintain(
  config: Config,
  role: string,
  json: boolean,
  run: (parts: { logger: Logger; report: Report }) => Promise<boolean>,
): Promise<number> {
  // What was probed and opened is of no interest here.
  const level = config.log.level === "info" ? "warn" : config.log.level;
  const log = createLog({ level, format: json ? "json" : config.log.format, stream: process.stderr });
  const report = createReport({ json });
  const tracing = await openTracing(config, log.logger);
  const work = (): Promise<boolean> => run({ logger: log.logger, report });
  try {
    return (await (tracing === undefined ? work() : tracing.job(role, work))) ? 0 : 1;
  } catch (error) {
    const isExpected = error instanceof StartupError || isStartProblem(error) || error instanceof RegistryError;
    if (!isExpected) log.logger.error({ err: error }, "this is a defect of the program");
    const cause = error instanceof Error && error.cause instanceof Error ? ` (${error.cause.message})` : "";
    report.failure(`${error instanceof Error ? error.message : String(error)}${cause}`);
    return 2;
  } finally {
    await tracing?.close();
    log.flush();
  }
}

interface MaintenanceOptions {
  readonly json: boolean;
  readonly snapshot?: string | undefined;
  readonly at?: string | undefined;
  readonly keep?: string | undefined;
  readonly "keep-days"?: string | undefined;
  readonly "dry-run": boolean;
  readonly check: boolean;
  readonly "new-key": boolean;
  readonly deep: boolean;
  readonly repair: boolean;
  readonly rate: string;
  readonly from: string;
}

async function runMaintenance(config: Config, role: string, place: string, options: MaintenanceOptions): Promise<number> {
  // Loaded only where they are used.
  const { runBackup, runBackupList, runBackupPrune, runRestore } = await import("./features/backup/backup-command.ts");
  const { runDoctor } = await import("./features/doctor/doctor-command.ts");
  return maintain(config, role, options.json, async (parts) => {
    const common = { ...OPENERS, ...parts, config, keyFile: KEY_FILE, program: `berth ${VERSION}` };
    const { snapshot, at, check, keep } = options;
    if (role === "backup") return runBackup(common, place);
    if (role === "backup list") return runBackupList(common, place);
    if (role === "backup prune")
      return runBackupPrune(common, place, { keep, keepDays: options["keep-days"], isDryRun: options["dry-run"] });
    if (role === "restore") return runRestore(common, place, { snapshot, at, isCheck: check, withNewKey: options["new-key"] });
    return runDoctor({ ...common, times: leaseTimes(config) }, options);
  });
}
