// The command line: which role its words name, and the options of that role. An option of another role is refused, so that nobody thinks
// that, for example, `migrate --dry-run` changes nothing. Not here: settings (config-load.ts), the roles.
import { parseArgs } from "node:util";
import { listSettings, suggest } from "../config-names.ts";

/** The text of `--help`. */
export const USAGE = `berth-server ROLE [SETTINGS]

Roles
  serve [--no-jobs]       answer the API and do the background work (the default role); --no-jobs leaves that to \`work\` processes
  work                    do the background work only; needs PostgreSQL
  migrate [--to N [--yes] [--destroy NAME]]
                          bring the database to this program's version, or to a release's version N; a way back says what it loses and
                          asks, or wants --yes; one that loses more than can be made anew wants the database's name (--destroy)
  gc [--dry-run [--limit N] [--digest D]]
                          run one round of collection now, or explain what the next would take and what holds all that it would keep, or
                          what holds one blob wherever it is (--digest)
  backup PLACE            back up database and blobs while everything goes on, to a directory or s3://BUCKET/PREFIX
  backup list PLACE       list the snapshots of a place: the moments that can be restored
  backup prune PLACE [--keep N] [--keep-days N] [--dry-run] [--yes]
                          forget all snapshots but the newest N and those of the last N days, and the bytes that only they needed; asks
                          on a terminal, and wants --yes elsewhere
  restore PLACE [--at TIME | --snapshot NAME] [--check] [--new-key] [--signed | --unsigned]
                          restore a backup into an empty database and store, or only read it and verify every byte (--check); --signed
                          refuses a backup without a signature, --unsigned takes one whose signature does not fit
  doctor [--deep] [--repair] [--rate SIZE] [--from ID]
                          compare database and store; --deep reads every byte, SIZE a second at most; --repair puts right what is safe
  store adopt [--replace ID] [--yes]
                          make the store of the settings this database's own, where its mark is lost, or was that of the registry ID
  account reset [NAME] [--admin]
                          give a user (admin, where none is named) a new password and print it, also beside the running server; --admin
                          makes it an administrator
  config check            print every setting, its value and where it comes from; secrets are masked
  version                 print the version

Settings: --listen HOST:PORT, --data DIRECTORY, --config FILE, and every other one of config.example.yaml as --its.path VALUE; each is also
a BERTH_* variable and a key of the configuration file.

gc --dry-run, backup, restore and doctor: --json for lines of JSON; exit code 0 all is well, 1 something is damaged or wrong, 2 it could not be done.
All commands: 64 where the command line is wrong, 78 where a setting is.
`;

const OPTIONS = {
  "no-jobs": { type: "boolean" },
  "dry-run": { type: "boolean" },
  to: { type: "string" },
  yes: { type: "boolean" },
  destroy: { type: "string" },
  replace: { type: "string" },
  admin: { type: "boolean" },
  limit: { type: "string" },
  digest: { type: "string" },
  snapshot: { type: "string" },
  at: { type: "string" },
  keep: { type: "string" },
  "keep-days": { type: "string" },
  check: { type: "boolean" },
  "new-key": { type: "boolean" },
  signed: { type: "boolean" },
  unsigned: { type: "boolean" },
  deep: { type: "boolean" },
  repair: { type: "boolean" },
  rate: { type: "string" },
  from: { type: "string" },
  json: { type: "boolean" },
  help: { type: "boolean", short: "h" },
  version: { type: "boolean", short: "V" },
} as const;

type OptionName = keyof typeof OPTIONS;

/** The given options; the others are undefined. */
export type Options = { readonly [K in OptionName]?: (typeof OPTIONS)[K]["type"] extends "string" ? string : boolean };

/** Each role with its options. All of them accept `--help` and `--version`. */
const ROLES = {
  serve: ["no-jobs"],
  work: [],
  migrate: ["to", "yes", "destroy"],
  gc: ["dry-run", "limit", "digest", "json"],
  backup: ["json"],
  "backup list": ["json"],
  "backup prune": ["keep", "keep-days", "dry-run", "yes", "json"],
  restore: ["at", "snapshot", "check", "new-key", "signed", "unsigned", "json"],
  doctor: ["deep", "repair", "rate", "from", "json"],
  "store adopt": ["replace", "yes"],
  "account reset": ["admin"],
  "config check": [],
  version: [],
} as const satisfies Record<string, readonly OptionName[]>;

/** A role's words. */
export type RoleName = keyof typeof ROLES;

/** The roles that accept a name after their words. */
const NAMED_ROLES: readonly RoleName[] = ["account reset"];
/** The roles that accept a place there. */
const PLACE_ROLES: readonly RoleName[] = ["backup list", "backup prune", "backup", "restore"];
/** Options of `gc` that only its explanation uses. */
const EXPLAIN_OPTIONS = ["limit", "digest", "json"] as const;

/** The parsed command line, or its problem. */
export type CommandLine =
  | { readonly ok: true; readonly role: RoleName; readonly place: string; readonly options: Options }
  | { readonly ok: false; readonly problem: string };

/** Flags of settings that have a short name. */
const SHORT_FLAGS = ["listen", "data", "config"];

const isRole = (name: string): name is RoleName => Object.hasOwn(ROLES, name);
const wrong = (problem: string): CommandLine => ({ ok: false, problem });

/** Parses the arguments without the settings' flags. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  let values: Options;
  let words: string[];
  try {
    ({ values, positionals: words } = parseArgs({ args: [...args], allowPositionals: true, options: OPTIONS }));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!String(code).startsWith("ERR_PARSE_ARGS")) throw error;
    return wrong(code === "ERR_PARSE_ARGS_UNKNOWN_OPTION" ? unknownOption(message) : message);
  }
  if (values.help === true || values.version === true) return { ok: true, role: "version", place: "", options: values };
  const { name, place } = roleOf(words);
  if (!isRole(name)) return wrong(`there is no role \`${name}\`${suggest(name, Object.keys(ROLES))}`);
  const allowed: readonly string[] = ROLES[name];
  const foreign = Object.keys(values).find((option) => !allowed.includes(option));
  if (foreign !== undefined) return wrong(`\`${name}\` has no option --${foreign}: it is one of ${rolesWith(foreign)}`);
  const withoutDryRun = EXPLAIN_OPTIONS.find((option) => values[option] !== undefined);
  if (name === "gc" && values["dry-run"] !== true && withoutDryRun !== undefined)
    return wrong(`--${withoutDryRun} goes with \`gc --dry-run\` only`);
  if (PLACE_ROLES.includes(name) && place === undefined) return wrong(`${name} needs a place: a directory or s3://BUCKET/PREFIX`);
  // It would make a backup in a directory of that name.
  const meant = name === "backup" && place !== undefined ? suggest(place, ["list", "prune"], "backup ") : "";
  if (meant !== "")
    return wrong(`\`backup ${place}\` would make a backup in a directory ./${place}${meant} If the directory is meant, say ./${place}`);
  return { ok: true, role: name, place: place ?? "", options: { ...values } };
}

/** The roles with an option, as text. */
function rolesWith(option: string): string {
  const names = Object.entries(ROLES).flatMap(([name, own]) => ((own as readonly string[]).includes(option) ? [`\`${name}\``] : []));
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/** Node.js's own message mentions arguments that begin with a dash, which no role has. */
function unknownOption(message: string): string {
  const option = /'(-[^']*)'/.exec(message)?.[1] ?? "";
  const name = option.replace(/^-+/, "");
  const paths = listSettings().map(([path]) => path);
  const isLast = (path: string): boolean => path.toLowerCase().endsWith(`.${name.toLowerCase()}`);
  const settings = paths.filter(isLast);
  if (settings.length === 1) return `there is no option ${option}; did you mean --${settings[0]}?`;
  // A single letter is close to any short name.
  const meant = name.length < 2 ? "" : suggest(name, [...SHORT_FLAGS, ...Object.keys(OPTIONS), ...paths], "--");
  return `there is no option ${option}${meant}`;
}

/** The role that the words name, and the place after it if the role takes one. */
function roleOf(words: readonly string[]): { readonly name: string; readonly place: string | undefined } {
  const all = words.join(" ");
  if (all === "" || isRole(all)) return { name: all || "serve", place: undefined };
  const name = words.slice(0, -1).join(" ");
  return isRole(name) && [...PLACE_ROLES, ...NAMED_ROLES].includes(name) ? { name, place: words.at(-1) } : { name: all, place: undefined };
}
