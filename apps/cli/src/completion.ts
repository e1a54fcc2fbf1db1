// Completion scripts for shells, generated from the table of verbs: words, options, and the values of options. Not here: names of projects
// and others, for which a registry would have to be asked at each keystroke.
import { COMMON_OPTIONS, type CommandOption, optionsOf, type Verb } from "./verb.ts";

/** The shells with a script. */
export const SHELLS = ["bash", "zsh", "fish"] as const;

/** A shell's script; undefined for any other shell. */
export function completionScript(shell: string, verbs: readonly Verb[]): string | undefined {
  if (shell === "bash") return bashScript(verbs);
  if (shell === "zsh") return `#compdef berth\nautoload -U +X bashcompinit && bashcompinit\n${bashScript(verbs)}`;
  return shell === "fish" ? fishScript(verbs) : undefined;
}

interface Entry {
  /** The words so far. */
  readonly path: string;
  readonly next: readonly string[];
  readonly options: readonly CommandOption[];
}

function entriesOf(verbs: readonly Verb[]): readonly Entry[] {
  const groups = new Map<string, Set<string>>([["", new Set()]]);
  for (const { words } of verbs) {
    const [first = "", second] = words.split(" ");
    groups.get("")!.add(first);
    if (second !== undefined) groups.set(first, (groups.get(first) ?? new Set()).add(second));
  }
  return [
    ...Array.from(groups, ([path, next]) => ({ path, next: [...next], options: [] })),
    ...verbs.map((verb) => ({ path: verb.words, next: shellsOf(verb), options: [...optionsOf(verb), ...COMMON_OPTIONS] })),
  ];
}

/** The one verb whose argument is one of few words. */
function shellsOf({ words }: Verb): readonly string[] {
  return words === "completion" ? SHELLS : [];
}

const flagsOf = (options: readonly CommandOption[]): string => options.map(({ name }) => `--${name}`).join(" ");

function bashScript(verbs: readonly Verb[]): string {
  const entries = entriesOf(verbs);
  const values = entries.flatMap(({ path, options }) =>
    options.flatMap(({ name, short, value, choices = [] }) => {
      if (value === undefined) return [];
      const patterns = [`"${path}:--${name}"`, ...(short === undefined ? [] : [`"${path}:-${short}"`])];
      const found =
        choices.length > 0 ? `compgen -W "${choices.join(" ")}" -- "$current"` : value === "FILE" ? `compgen -f -- "$current"` : ":";
      return [`    ${patterns.join("|")}) COMPREPLY=($(${found})); return ;;`];
    }),
  );
  const words = entries.map(({ path, next, options }) => `    "${path}") words="${[...next, flagsOf(options)].join(" ").trim()}" ;;`);
  return `_berth() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path="" words="" word count=0
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "$word" in -*) break ;; esac
    if [ $count -ge 2 ]; then break; fi
    case "$path" in
${groupCases(verbs)}
      *) break ;;
    esac
    count=$((count + 1))
  done
  case "$path:$previous" in
${values.join("\n")}
  esac
  case "$path" in
${words.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _berth berth
`;
}

/** The next words of a path: any first word, and a second one if the first is a group. */
function groupCases(verbs: readonly Verb[]): string {
  const groups = new Set(verbs.filter(({ words }) => words.includes(" ")).map(({ words }) => words.split(" ")[0]));
  return `      "") path="$word" ;;\n      ${Array.from(groups, (each) => `"${each}"`).join("|")}) path="$path $word" ;;`;
}

function fishScript(verbs: readonly Verb[]): string {
  const entries = entriesOf(verbs);
  const quote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
  const lines = entries.flatMap(({ path, next, options }) => {
    const at = `complete -c berth -n ${quote(path === "" ? "__berth_at" : `__berth_at ${path}`)}`;
    const summaryOf = (word: string): string => verbs.find(({ words }) => words === `${path} ${word}`.trim())?.summary ?? word;
    return [
      ...next.map((word) => `${at} -f -a ${word} -d ${quote(summaryOf(word))}`),
      ...options.map(({ name, short, value, choices = [], help }) => {
        const takes =
          value === undefined ? "" : choices.length > 0 ? ` -x -a ${quote(choices.join(" "))}` : value === "FILE" ? " -r -F" : " -x";
        return `${at} -l ${name}${short === undefined ? "" : ` -s ${short}`}${takes} -d ${quote(help)}`;
      }),
    ];
  });
  const groups = [...new Set(verbs.filter(({ words }) => words.includes(" ")).map(({ words }) => words.split(" ")[0] ?? ""))];
  return `function __berth_at
  set -l words (commandline -opc)[2..]
  set -l path
  for word in $words
    string match -q -- '-*' $word; and break
    if test (count $path) -eq 0
      set path $word
    else if test (count $path) -eq 1; and contains -- $path[1] ${groups.join(" ")}
      set path $path $word
    else
      break
    end
  end
  test "$path" = "$argv"
end
complete -c berth -f
${lines.join("\n")}
`;
}
