// Parses the YAML file into raw values by path, each with its line. Not here: the meaning of values (config-kinds.ts).
import { basename, resolve } from "node:path";
import type { Node, Pair } from "yaml";
import type { ParseContext, Repeated, Section } from "./config-kinds.ts";
import { isKey, isRepeated, isSetting, partAt, settingAt, suggest } from "./config-names.ts";

/** A written value, before it is parsed. */
export interface RawValue {
  readonly raw: unknown;
  readonly source: string;
}

/** The file's values by path. Reports unknown keys, invalid YAML and an unreadable file. A key without a value counts as not set. */
export async function readConfigFile(
  file: RawValue,
  context: ParseContext,
  readFile: (path: string) => Promise<string>,
  schema: Section,
  known: ReadonlySet<string>,
  report: (source: string, message: string) => void,
): Promise<ReadonlyMap<string, RawValue>> {
  const values = new Map<string, RawValue>();
  const path = resolve(context.directory, String(file.raw));
  let written: string;
  try {
    written = await readFile(path);
  } catch (error) {
    report(file.source, `cannot be read: ${error instanceof Error ? error.message : String(error)}`);
    return values;
  }
  // Loaded only here: a start without a file does not need it.
  const yaml = await import("yaml");
  const lines = new yaml.LineCounter();
  const place = (offset: number) => `${basename(path)}:${lines.linePos(offset).line}`;
  const sections = new Set([...known].flatMap((name) => name.split(".").map((_, i, parts) => parts.slice(0, i).join("."))));
  try {
    const document = yaml.parseDocument(written, { lineCounter: lines, prettyErrors: false, logLevel: "silent" });
    for (const problem of document.errors) report(place(problem.pos[0]), `is not valid YAML: ${problem.message}`);
    if (document.errors.length === 0) readSection(document.contents, "");

    function readSection(node: Node | null, prefix: string): void {
      const target = yaml.isAlias(node) ? node.resolve(document) : node;
      if (target === null || target === undefined || (yaml.isScalar(target) && target.value === null)) return;
      if (!yaml.isMap(target)) {
        report(
          place(target.range?.[0] ?? 0),
          `${prefix === "" ? "the file" : prefix.slice(0, -1)} must hold settings, one \`name: value\` a line`,
        );
        return;
      }
      for (const pair of target.items) readPair(pair as Pair<Node, Node | null>, prefix);
    }

    function readPair(pair: Pair<Node, Node | null>, prefix: string): void {
      const source = place(pair.key.range?.[0] ?? 0);
      const name = yaml.isScalar(pair.key) && typeof pair.key.value === "string" ? prefix + pair.key.value : undefined;
      if (name === undefined) report(source, "a setting's name must be text");
      else readPart(name, pair.value, source);
    }

    function readPart(name: string, node: Node | null, source: string): void {
      const part = partAt(schema, name);
      if (part !== undefined && isRepeated(part)) readMany(part, name, node, source);
      else if (part !== undefined && !isSetting(part)) readSection(node, `${name}.`);
      else if (settingAt(schema, name) === undefined) report(source, `${name} is not a setting${suggest(name, [...known, ...sections])}`);
      else {
        const raw: unknown = node?.toJS(document, { maxAliasCount: 100 });
        if (raw !== null && raw !== undefined) values.set(name, { raw, source });
      }
    }

    /** The sections of a list or a map, each under its number or name. */
    function readMany(part: Repeated, name: string, node: Node | null, source: string): void {
      const target = yaml.isAlias(node) ? node.resolve(document) : node;
      if (target === null || target === undefined || (yaml.isScalar(target) && target.value === null)) return;
      const isFitting = part.repeats === "list" ? yaml.isSeq(target) : yaml.isMap(target);
      if (!isFitting) {
        report(
          source,
          `${name} must be ${part.repeats === "list" ? "a list of sections, each behind a dash" : "sections, each under a name of its own"}`,
        );
        return;
      }
      const { items } = target as unknown as { readonly items: readonly unknown[] };
      for (const [at, item] of items.entries()) {
        const key = yaml.isPair(item) ? (yaml.isScalar(item.key) ? String(item.key.value) : "") : String(at);
        const value = (yaml.isPair(item) ? item.value : item) as Node | null;
        const range = ((yaml.isPair(item) ? item.key : item) as Node | null)?.range;
        const itemSource = range === undefined || range === null ? source : place(range[0]);
        if (!isKey(part, key)) {
          const wanted =
            part.repeats === "list" ? "a list has 100 sections at most" : "lower-case letters, digits and single dashes between them";
          report(itemSource, `${name}: ${JSON.stringify(key.slice(0, 80))} is no name for a section: ${wanted}`);
        } else if (isEmpty(value)) report(itemSource, `${name}.${key} holds no settings`);
        else readSection(value, `${name}.${key}.`);
      }
    }

    function isEmpty(node: Node | null): boolean {
      const target = yaml.isAlias(node) ? node.resolve(document) : node;
      return (
        target === null ||
        target === undefined ||
        (yaml.isScalar(target) && target.value === null) ||
        (yaml.isMap(target) && target.items.length === 0)
      );
    }
  } catch (error) {
    // An alias without an anchor, or a document nested too deeply for the stack.
    report(basename(path), `is not valid YAML: ${error instanceof Error ? error.message : String(error)}`);
  }
  return values;
}
