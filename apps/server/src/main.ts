// The program: reads its arguments and configuration and runs one role. Not here: the roles and their options (roles/command-line.ts), the
// roles' work (roles/), the composition (compose.ts).
import { RegistryError } from "@berth/oci/errors";
import { describeProblems, describeSettings } from "./config-document.ts";
import { loadConfig, takeConfigFlags, type FlagValue } from "./config-load.ts";
import { EXIT_CONFIG, type Config } from "./config.ts";
import { roomWanted } from "./platform/database/disk-reserve.ts";
import { LATEST_MIGRATION } from "./platform/database/migrate.ts";
import { EXIT_USAGE, StartupError, UsageError } from "./platform/startup-error.ts";
import { VERSION } from "./platform/version.ts";
import { runAccountReset } from "./roles/account.ts";
import { explainCollection, runCollection } from "./roles/collect.ts";
import { parseCommandLine, USAGE, type RoleName } from "./roles/command-line.ts";
import { describeCauses, isStartProblem } from "./roles/expected-errors.ts";
import { runMaintenance } from "./roles/maintain.ts";
import { runMigrate } from "./roles/migrate.ts";
import { serve, work } from "./roles/serve.ts";
import { runStoreAdopt } from "./roles/store.ts";

/** The exit code that shells show for a program ended by SIGPIPE. */
const EXIT_NO_READER = 141;

/** Runs the program with its arguments; returns the exit code, or undefined if it ended well. Never rejects for a user's mistake. */
export async function main(argv: readonly string[]): Promise<number | undefined> {
  const { flags, rest } = takeConfigFlags(argv);
  const command = parseCommandLine(rest);
  if (!command.ok) {
    process.stderr.write(`${command.problem}\nberth-server --help lists all roles and options.\n`);
    return EXIT_USAGE;
  }
  const { role, place, options } = command;
  endWithReader(role);
  if (options.help === true) {
    process.stdout.write(USAGE);
    return undefined;
  }
  try {
    switch (role) {
      case "serve":
        return await withConfig(flags, (config) => serve(config, options["no-jobs"] !== true));
      case "work":
        return await withConfig(flags, work);
      case "migrate":
        return await withConfig(flags, (config) => runMigrate(config, options));
      case "gc":
        return await withConfig(flags, (config) =>
          options["dry-run"] === true ? explainCollection(config, options) : runCollection(config),
        );
      case "backup":
      case "backup list":
      case "backup prune":
      case "restore":
      case "doctor":
        return await withConfig(flags, (config) => runMaintenance(config, role, place, options));
      case "store adopt":
        return await withConfig(flags, (config) => runStoreAdopt(config, options));
      case "account reset":
        return await withConfig(flags, (config) => runAccountReset(config, place, options));
      case "config check":
        return await checkConfig(flags);
      case "version":
        process.stdout.write(`berth ${VERSION} (database version ${LATEST_MIGRATION}, Node.js ${process.version})\n`);
        return undefined;
    }
  } catch (error) {
    if (error instanceof StartupError || isStartProblem(error)) {
      process.stderr.write(`${error.message}${error instanceof StartupError ? "" : roomWanted(error)}\n`);
      return error instanceof UsageError ? EXIT_USAGE : 1;
    }
    // A full disk, an unreachable database or store: a stack would explain nothing.
    if (error instanceof RegistryError) {
      process.stderr.write(`${describeCauses(error)}${roomWanted(error)}\n`);
      return 1;
    }
    throw error;
  }
}

/** The reader of the output may end first (`gc --dry-run | head`): a command then ends quietly, and a server continues. */
function endWithReader(role: RoleName): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    if (role !== "serve" && role !== "work") process.exit(EXIT_NO_READER);
  });
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
