// The command line: which verb its words name, and the verb's words and options. Not here: the table (verbs/verbs.ts), the meaning of
// values (read-value.ts).
import { parseArgs } from "node:util";
import { Misuse, suggest } from "./misuse.ts";
import { COMMON_OPTIONS, type CommandOption, type Given, optionsOf, type Verb } from "./verb.ts";

/** The parsed command line. `help`: the usage of the verbs that begin with these words; all if there are none. */
export type CommandLine = { readonly verb: Verb; readonly given: Given } | { readonly help: readonly string[] };

/** Parses it. Errors: `Misuse`. */
export function parseCommandLine(args: readonly string[], verbs: readonly Verb[]): CommandLine {
  const words = args.slice(0, args.findIndex((each) => each.startsWith("-")) >>> 0);
  const verb = findVerb(args, verbs);
  if (verb === undefined) {
    const [first = ""] = args;
    if (args.length === 0 || first === "help" || args.includes("--help") || args.includes("-h")) {
      const topic = words.filter((word) => word !== "help");
      checkTopic(topic, verbs);
      return { help: topic };
    }
    throw new Misuse(unknownVerb(args, verbs));
  }
  const options = [...optionsOf(verb), ...COMMON_OPTIONS];
  const { values, positionals } = parse(args.slice(verb.words.split(" ").length), options, verb.words);
  if (values["help"] === true) return { help: verb.words.split(" ") };
  for (const { name, choices = [] } of options) {
    const value = values[name];
    if (typeof value === "string" && choices.length > 0 && !choices.includes(value)) {
      throw new Misuse(`--${name} is one of ${choices.join(", ")}, not ${value}${suggest(value, choices)}`);
    }
  }
  checkWords(verb, positionals);
  return { verb, given: { words: positionals, options: values } };
}

/** The longest verb whose words the arguments begin with. */
function findVerb(args: readonly string[], verbs: readonly Verb[]): Verb | undefined {
  const fitting = verbs.filter(({ words }) => words.split(" ").every((word, at) => args[at] === word));
  return fitting.toSorted((one, other) => other.words.length - one.words.length)[0];
}

function parse(
  args: readonly string[],
  options: readonly CommandOption[],
  verb: string,
): { values: Given["options"]; positionals: string[] } {
  const config = Object.fromEntries(
    options.map(({ name, short, value, isMany = false }) => [
      name,
      { type: value === undefined ? ("boolean" as const) : ("string" as const), ...(short && { short }), multiple: isMany },
    ]),
  );
  try {
    const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options: config });
    return { values: values as Given["options"], positionals };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!String(code).startsWith("ERR_PARSE_ARGS")) throw error;
    if (code !== "ERR_PARSE_ARGS_UNKNOWN_OPTION") throw new Misuse(`${message.split("\n", 1)[0]}; see berth ${verb} --help`);
    const name = /'-+([^'=]*)'/.exec(message)?.[1] ?? "";
    const known = options.map((option) => option.name);
    throw new Misuse(`\`berth ${verb}\` has no option --${name}${suggest(name, known)}; see berth ${verb} --help`);
  }
}

function checkWords(verb: Verb, words: readonly string[]): void {
  const missing = verb.arguments.slice(words.length).find(({ optional }) => optional !== true);
  if (missing !== undefined) throw new Misuse(`\`berth ${verb.words}\` needs ${missing.name}: ${missing.help}`);
  if (words.length > verb.arguments.length) throw new Misuse(`\`berth ${verb.words}\` does not take ${words[verb.arguments.length]}`);
  if (words.includes("")) throw new Misuse("an argument is empty");
}

function checkTopic(topic: readonly string[], verbs: readonly Verb[]): void {
  const isKnown = topic.length === 0 || verbs.some(({ words }) => `${words} `.startsWith(`${topic.join(" ")} `));
  if (!isKnown) throw new Misuse(unknownVerb(topic, verbs));
}

function unknownVerb(args: readonly string[], verbs: readonly Verb[]): string {
  const [first = "", second] = args;
  if (first.startsWith("-")) return `the verb comes first, and ${first} behind it: see berth --help`;
  const group = verbs.filter(({ words }) => words.startsWith(`${first} `)).map(({ words }) => words.split(" ")[1] ?? "");
  if (group.length === 0) {
    const all = [...new Set(verbs.map(({ words }) => words.split(" ")[0] ?? ""))];
    return `there is no verb ${first}${suggest(first, all) || "; see berth --help"}`;
  }
  if (second === undefined || second.startsWith("-")) return `\`berth ${first}\` wants one of ${group.join(", ")}`;
  return `there is no verb ${first} ${second}${suggest(second, group) || `: there are ${group.join(", ")}`}`;
}
