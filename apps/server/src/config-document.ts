// Settings as text for people: the example file, the effective settings, the problems. Not here: their values (config-load.ts).
import { CONFIG_SCHEMA } from "./config.ts";
import type { ConfigProblem, EffectiveSetting } from "./config-load.ts";
import { isRepeated, isSetting } from "./config-names.ts";
import type { Section } from "./config-kinds.ts";

/** Comments wrap here, so that the file reads well in a terminal. */
const COMMENT_WIDTH = 100;

/** `config.example.yaml`: every setting with its meaning and default, all commented out so that later defaults still apply. */
export function writeExampleConfig(schema: Section = CONFIG_SCHEMA): string {
  const head = [
    "# Every setting of the registry, with its default. Copy what you change; what stays a comment keeps the default.",
    "# A setting can also be a variable (http.listen: BERTH_HTTP_LISTEN) or a flag (--http.listen); flags win, then variables, then this file.",
    "# Sizes: 512KiB, 8MiB, 10GB. Times: 90s, 5m, 24h, 7d. A secret `x` can be given as `xFile`, the path of a file that holds it, or `xCommand`, a command that prints it.",
    "# Written by `npm run generate` from what apps/server/src/config.ts joins.",
  ];
  return `${[...head, ...writeSection(schema, 0)].join("\n")}\n`;
}

function writeSection(section: Section, depth: number): string[] {
  const indent = "  ".repeat(depth);
  return Object.entries(section).flatMap(([name, part], i) => {
    const isFirst = i === 0 && depth > 0;
    if (isRepeated(part)) {
      const isList = part.repeats === "list";
      const about = `${part.about} ${isList ? "A list of sections." : "A section under each name."}`;
      const inner = writeSection(part.each, 0).map((line) => `${indent}#     ${line.replace(/^(\s*)# (\w+:)/, "$1$2")}`.trimEnd());
      return [
        ...(isFirst ? [] : [""]),
        ...wrap(about, COMMENT_WIDTH - indent.length - 2).map((line) => `${indent}# ${line}`),
        `${indent}# ${name}:`,
        `${indent}#   ${isList ? "-" : "NAME:"}`,
        ...inner,
      ];
    }
    if (!isSetting(part)) return ["", `${indent}${name}:`, ...writeSection(part, depth + 1)];
    const kind = `${part.kind.charAt(0).toUpperCase()}${part.kind.slice(1)}.`;
    const lines = wrap(`${part.about} ${kind}`, COMMENT_WIDTH - indent.length - 2).map((line) => `${indent}# ${line}`);
    const written = part.standard === undefined ? "" : ` ${part.standard === "" ? '""' : part.standard}`;
    const secretFile = part.isSecret ? [`${indent}# ${name}File:`] : [];
    return [...(isFirst ? [] : [""]), ...lines, `${indent}# ${name}:${written}`, ...secretFile];
  });
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** The effective settings, one on each line: path, value (secrets masked), origin. */
export function describeSettings(settings: readonly EffectiveSetting[]): string {
  const pathWidth = Math.max(...settings.map(({ path }) => path.length));
  const valueWidth = Math.min(48, Math.max(...settings.map(({ shown }) => shown.length)));
  return settings
    .map(({ path, shown, source }) => `${path.padEnd(pathWidth)}  ${(shown === "" ? "-" : shown).padEnd(valueWidth)}  ${source}\n`)
    .join("");
}

/** All problems, one on each line, after a line with their number. */
export function describeProblems(problems: readonly ConfigProblem[]): string {
  const count = problems.length === 1 ? "1 problem" : `${problems.length} problems`;
  return `The configuration has ${count}; the server does not start:\n${problems.map(({ source, message }) => `  ${source} ${message}\n`).join("")}`;
}
