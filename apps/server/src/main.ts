// The program: reads its arguments and configuration and plays one role. Roles: serve, work, migrate, gc, backup, restore, doctor, config check,
// version. Not here: what a role does (roles/), what it is built of (compose.ts).
import { parseArgs } from "node:util";
import { RegistryError } from "@berth/oci/errors";
import { describeProblems, describeSettings } from "./config-document.ts";
import { loadConfig, takeConfigFlags, type FlagValue } from "./config-load.ts";
import { EXIT_CONFIG, type Config } from "./config.ts";
import { LATEST_MIGRATION } from "./platform/database/migrate.ts";
import { StartupError } from "./platform/startup-error.ts";
import { VERSION } from "./platform/version.ts";
import { explainCollection, runCollection } from "./roles/collect.ts";
import { describeCauses, isStartProblem } from "./roles/expected-errors.ts";
import { runMaintenance } from "./roles/maintain.ts";
import { runMigrate } from "./roles/migrate.ts";
import { serve, work } from "./roles/serve.ts";

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
