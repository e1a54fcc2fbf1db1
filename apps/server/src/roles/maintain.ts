// The maintenance roles, whose report uses standard output alone: backup, restore, doctor, and gc --dry-run. Not here: the work
// (features/), which is loaded on demand.
import { RegistryError } from "@berth/oci/errors";
import { leaseTimes } from "../compose/foundation.ts";
import { nameStore, openDatabase, openReader, openStore } from "../compose/openers.ts";
import { databaseStartError } from "../compose/start-errors.ts";
import type { Config } from "../config.ts";
import type { Logger } from "../platform/log.ts";
import { createReport, type Report } from "../platform/report.ts";
import { EXIT_USAGE, StartupError, UsageError } from "../platform/startup-error.ts";
import { TABLES } from "../tables.ts";
import { VERSION } from "../platform/version.ts";
import type { Options, RoleName } from "./command-line.ts";
import { confirm } from "./confirm.ts";
import { isStartProblem } from "./expected-errors.ts";
import { KEY_FILE, withLog } from "./context.ts";

/** The openers that the commands use. */
const OPENERS = { nameStore, openDatabase, openReader, openStore };

/**
 * Runs a command whose report uses standard output alone. Exit codes: 0 if all is well, 1 if it found problems, 2 if it could not finish,
 * and `EXIT_USAGE` for a wrong command line.
 */
export async function maintain(
  config: Config,
  role: string,
  json: boolean,
  run: (parts: { logger: Logger; report: Report }) => Promise<boolean>,
): Promise<number> {
  // Lines about probing and opening do not matter here.
  const level = config.log.level === "info" ? "warn" : config.log.level;
  const report = createReport({ json });
  return withLog(config, { level, format: json ? "json" : config.log.format, stream: process.stderr }, async (logger, tracing) => {
    const work = (): Promise<boolean> => run({ logger, report });
    try {
      return (await (tracing === undefined ? work() : tracing.job(role, work))) ? 0 : 1;
    } catch (thrown) {
      // An error of the database before the connection was accepted is no defect.
      const error = thrown instanceof RegistryError ? thrown : databaseStartError(thrown, config);
      const isExpected = error instanceof StartupError || isStartProblem(error) || error instanceof RegistryError;
      if (!isExpected) logger.error({ err: error }, "this is a defect of the program");
      const cause = error instanceof Error && error.cause instanceof Error ? ` (${error.cause.message})` : "";
      report.failure(`${error instanceof Error ? error.message : String(error)}${cause}`);
      return error instanceof UsageError ? EXIT_USAGE : 2;
    }
  });
}

/** Runs one of backup, backup list, backup prune, restore and doctor. Exit codes: those of `maintain`. */
export async function runMaintenance(config: Config, role: RoleName, place: string, options: Options): Promise<number> {
  // Loaded on demand.
  const { runBackup, runBackupList, runBackupPrune, runRestore } = await import("../commands/backup/backup-command.ts");
  const { runDoctor } = await import("../commands/doctor/doctor-command.ts");
  return maintain(config, role, options.json === true, async (parts) => {
    const common = { ...OPENERS, ...parts, config, keyFile: KEY_FILE, tables: TABLES, program: `berth ${VERSION}` };
    const { snapshot, at, keep } = options;
    if (role === "backup") return runBackup(common, place);
    if (role === "backup list") return runBackupList(common, place);
    if (role === "backup prune") {
      const agree = async (showWhatGoes: () => Promise<void>): Promise<void> => {
        // Only shown to a person: a script has already decided.
        if (options.yes !== true && process.stdin.isTTY === true) await showWhatGoes();
        await confirm(`Delete this from ${place}?`, options.yes === true, "--dry-run shows what would be deleted; say --yes to delete it.");
      };
      return runBackupPrune(common, place, { keep, keepDays: options["keep-days"], isDryRun: options["dry-run"] === true, agree });
    }
    if (role === "restore")
      return runRestore(common, place, {
        snapshot,
        at,
        isCheck: options.check === true,
        withNewKey: options["new-key"] === true,
        isSigned: options.signed === true,
        isUnsigned: options.unsigned === true,
      });
    return runDoctor(
      { ...common, times: leaseTimes(config) },
      { deep: options.deep === true, repair: options.repair === true, rate: options.rate ?? "100MiB", from: options.from ?? "0" },
    );
  });
}
