// The text of `--help`, generated from the table of verbs. Not here: the table (verbs/verbs.ts).
import { COMMON_OPTIONS, type CommandOption, optionsOf, type Verb } from "./verb.ts";

const HEAD = `berth VERB [ARGUMENTS] [OPTIONS]

Works with a Berth registry: projects, members, users, robots, repositories, tags, jobs.
`;

const TAIL = `
Every verb has --help. Environment: BERTH_REGISTRY, BERTH_USER and BERTH_PASSWORD in place of a context; BERTH_CA_FILE as --ca-file.
Exit codes: 0 done; 1 the registry answered with an error, or could not be reached; 64 the command line is wrong.
`;

/** The help on one verb, on all verbs that begin with some words, or on all. */
export function helpOn(words: readonly string[], verbs: readonly Verb[]): string {
  const topic = words.join(" ");
  const verb = verbs.find((each) => each.words === topic);
  if (verb !== undefined) return helpOnVerb(verb);
  const shown = verbs.filter((each) => topic === "" || each.words.startsWith(`${topic} `));
  const rows = shown.map((each) => [usageOf(each), each.summary] as const);
  return `${topic === "" ? HEAD : `berth ${topic} VERB\n`}\n${tableOf(rows)}\n\nOptions of every verb\n${optionsTable(COMMON_OPTIONS)}\n${TAIL}`;
}

function helpOnVerb(verb: Verb): string {
  const own = optionsOf(verb);
  const parts = [
    `berth ${usageOf(verb)}${own.length === 0 ? "" : " [OPTIONS]"}\n\n${verb.summary}.`,
    ...(verb.arguments.length === 0 ? [] : [`Arguments\n${tableOf(verb.arguments.map(({ name, help }) => [name, help]))}`]),
    ...(own.length === 0 ? [] : [`Options\n${optionsTable(own)}`]),
    `Options of every verb\n${optionsTable(COMMON_OPTIONS)}`,
  ];
  return `${parts.join("\n\n")}\n`;
}

function usageOf({ words, arguments: all }: Verb): string {
  return [words, ...all.map(({ name, optional }) => (optional === true ? `[${name}]` : name))].join(" ");
}

function optionsTable(options: readonly CommandOption[]): string {
  return tableOf(
    options.map(({ name, short, value, choices = [], help }) => {
      const listed = choices.length === 0 || help.includes(choices.join(", ")) ? help : `${help}: ${choices.join(", ")}`;
      return [`${short === undefined ? "    " : `-${short}, `}--${name}${value === undefined ? "" : ` ${value}`}`, listed];
    }),
  );
}

function tableOf(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, help]) => `  ${name.padEnd(width)}  ${help}`).join("\n");
}
