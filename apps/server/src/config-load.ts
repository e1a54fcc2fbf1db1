// Reads settings: defaults < standards' variables (OTEL_*) < YAML file < BERTH_* environment < flags, collecting every problem. Not here:
// the settings themselves (config.ts), their kinds (config-kinds.ts), texts for people (config-document.ts).
import { CONFIG_SCHEMA, type Config, findContradictions, type ValuesOf, withDerivedDefaults } from "./config.ts";
import { type RawValue, readConfigFile } from "./config-file.ts";
import type { ParseContext, Section, Setting } from "./config-kinds.ts";
import {
  environmentName,
  isRepeated,
  isSetting,
  listRepeated,
  listSettings,
  repeatedPath,
  type SecretSource,
  settingAt,
  sourceNames,
  suggest,
} from "./config-names.ts";
import { readSecretFrom, readSmallFile, runShell, type SecretReaders } from "./config-secrets.ts";

/** A problem of the configuration: its place and a description. It never contains a secret. */
export interface ConfigProblem {
  readonly source: string;
  readonly message: string;
}

/** One setting with its value and origin, for `config check`. */
export interface EffectiveSetting {
  readonly path: string;
  /** As text; masked for a secret, empty if not set. */
  readonly shown: string;
  /** The place where it was set: `default`, `BERTH_HTTP_LISTEN`, `--http.listen`, `berth.yaml:3`. */
  readonly source: string;
}

/** The whole configuration, or all its problems. */
export type ConfigResult =
  | { readonly ok: true; readonly config: Config; readonly settings: readonly EffectiveSetting[] }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/** The sources of the configuration. */
export interface ConfigSources {
  /** Flags after the program's name; see `takeConfigFlags`. */
  readonly flags: readonly FlagValue[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Relative paths start here. */
  readonly directory: string;
  /** Reads a small file as UTF-8; by default from the disk, at most 1 MiB. */
  readonly readFile?: (path: string) => Promise<string>;
  /** Runs a command that prints a secret; by default by the shell. */
  readonly runCommand?: SecretReaders["runCommand"];
}

/** A flag as it was given; no value means that none followed it. */
export interface FlagValue {
  readonly name: string;
  readonly value: string | undefined;
}

/** One place where a setting can be set: the setting itself, or for a secret also the path of a file, or a command. */
interface Slot {
  readonly path: string;
  readonly setting: Setting<unknown>;
  readonly from: SecretSource;
}

type Layer = ReadonlyMap<string, RawValue>;

/** Other variables that the environment may contain: this project's tests, and those of Kubernetes for a Service called `berth`. */
const FOREIGN_VARIABLE =
  /^BERTH_(?:TEST_.*|(?:\w+_)?SERVICE_HOST|(?:\w+_)?SERVICE_PORT(?:_\w+)?|(?:\w+_)?PORT(?:_\d+_(?:TCP|UDP|SCTP)(?:_\w+)?)?)$/;

/** The names by which a schema's settings can be set. */
interface Names {
  readonly schema: Section;
  /** Slots of settings that are not repeated, and of their secret files. */
  readonly slots: ReadonlyMap<string, Slot>;
  /** Every flag without its dashes, with the slot that it fills. */
  readonly byFlag: ReadonlyMap<string, string>;
  readonly byVariable: ReadonlyMap<string, string>;
}

function namesOf(schema: Section): Names {
  const slots: ReadonlyMap<string, Slot> = new Map(
    listSettings(schema).flatMap(([path, setting]) =>
      sourceNames(path, setting).map(([name, from]): [string, Slot] => [name, { path, setting, from }]),
    ),
  );
  const byFlag = new Map([
    ...[...slots.keys()].map((name): [string, string] => [name, name]),
    ...[...slots].flatMap(([name, { setting, from }]): [string, string][] =>
      setting.alias === undefined ? [] : [[from === "text" ? setting.alias : setting.alias + from, name]],
    ),
  ]);
  return { schema, slots, byFlag, byVariable: new Map([...byFlag].map(([flag, name]) => [environmentName(flag), name])) };
}

const NAMES = namesOf(CONFIG_SCHEMA);

/**
 * Takes the settings' flags (`--http.listen x`, `--http.listen=x`, `--config file`) out of an argument list and returns the rest for the
 * command's own parser. A flag with a dot is always taken, so that a misspelled setting is reported with the other problems.
 */
export function takeConfigFlags(argv: readonly string[]): { readonly flags: readonly FlagValue[]; readonly rest: readonly string[] } {
  const flags: FlagValue[] = [];
  const rest: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i] ?? "";
    if (argument === "--") return { flags, rest: [...rest, ...argv.slice(i)] };
    const match = /^--([a-zA-Z][\w.-]*)(?:=(.*))?$/s.exec(argument);
    const name = match?.[1];
    if (name === undefined || !(name === "config" || NAMES.byFlag.has(name) || name.includes("."))) {
      rest.push(argument);
      continue;
    }
    const next = argv[i + 1];
    let value = match?.[2];
    if (value === undefined && next !== undefined && !next.startsWith("--")) {
      value = next;
      i++;
    }
    flags.push({ name, value });
  }
  return { flags, rest };
}

/** Reads the whole configuration. Never rejects: problems are part of the result. */
export async function loadConfig(sources: ConfigSources): Promise<ConfigResult> {
  const read = await readSettings(sources, CONFIG_SCHEMA);
  if (!read.ok) return read;
  const writtenAt = new Map([...read.origins].filter(([, source]) => source !== "default"));
  const config = withDerivedDefaults({ ...read.values, writtenAt });
  const problems = findContradictions(config).map(([source, message]) => ({ source, message }));
  if (problems.length > 0) return { ok: false, problems };
  deepFreeze(config);
  return { ok: true, config, settings: listEffective(config, read.origins, read.settings) };
}

/** The values of a schema, with the place of each; or all problems. */
export type ReadResult<S extends Section> =
  | {
      readonly ok: true;
      readonly values: ValuesOf<S>;
      readonly origins: ReadonlyMap<string, string>;
      /** All existing settings, including those of each repeated section. */
      readonly settings: readonly (readonly [string, Setting<unknown>])[];
    }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/** Reads the settings of a schema, each independently of the others. */
export async function readSettings<const S extends Section>(sources: ConfigSources, schema: S): Promise<ReadResult<S>> {
  const names = schema === (CONFIG_SCHEMA as Section) ? NAMES : namesOf(schema);
  const problems: ConfigProblem[] = [];
  const report = (source: string, message: string) => void problems.push({ source, message });
  const { directory, readFile = readSmallFile, runCommand = runShell } = sources;
  const context: ParseContext = { directory };

  const flagLayer = readFlags(names, sources.flags, report);
  const environmentLayer = readEnvironment(names, sources.environment, report);
  const file = flagLayer.file ?? environmentLayer.file;
  const fileLayer =
    file === undefined
      ? new Map<string, RawValue>()
      : await readConfigFile(file, context, readFile, schema, new Set(names.slots.keys()), report);

  // Highest first.
  const layers: readonly Layer[] = [
    flagLayer.values,
    environmentLayer.values,
    fileLayer,
    readStandardVariables(names, sources.environment),
  ];
  const values = new Map<string, unknown>();
  const origins = new Map<string, string>();
  const settings = [...listSettings(schema), ...listOfRepeated(schema, layers, report)];
  for (const [path, setting] of settings) {
    const chosen = await chooseValue(path, setting, layers, { context, readFile, runCommand, report });
    values.set(path, chosen.value);
    origins.set(path, chosen.source);
  }
  if (problems.length > 0) return { ok: false, problems };
  // The schema determines both the values and the type; the compiler cannot follow the walk from one to the other.
  return { ok: true, values: buildSection(schema, "", values) as ValuesOf<S>, origins, settings };
}

/** The settings of all repeated sections of which some layer sets a part. */
function listOfRepeated(schema: Section, layers: readonly Layer[], report: Report): (readonly [string, Setting<unknown>])[] {
  return listRepeated(schema).flatMap(([path, repeated]) => {
    const given = new Map<string, string>();
    for (const [name, { source }] of layers.flatMap((layer) => [...layer])) {
      if (!name.startsWith(`${path}.`)) continue;
      const key = name.slice(path.length + 1).split(".", 1)[0]!;
      if (!given.has(key)) given.set(key, source);
    }
    const keys = [...given.keys()].toSorted(new Intl.Collator("en", { numeric: true }).compare);
    if (repeated.repeats === "list") {
      const at = keys.findIndex((key, index) => key !== String(index));
      if (at !== -1) report(given.get(keys[at]!)!, `${path}.${keys[at]} is given, and ${path}.${at} is not: a list has no gaps`);
    }
    return keys.flatMap((key) => listSettings(repeated.each, `${path}.${key}.`));
  });
}

type Report = (source: string, message: string) => void;

interface NamedLayer {
  readonly values: Layer;
  readonly file: RawValue | undefined;
}

function readFlags(names: Names, flags: readonly FlagValue[], report: Report): NamedLayer {
  const values = new Map<string, RawValue>();
  let file: RawValue | undefined;
  const seen = new Set<string>();
  for (const { name, value } of flags) {
    const source = `--${name}`;
    const slot = name === "config" ? "config" : (names.byFlag.get(name) ?? (settingAt(names.schema, name) && name));
    if (slot === undefined) {
      report(source, `is not a setting${suggest(name, [...names.byFlag.keys(), "config"], "--")}`);
    } else if (seen.has(slot)) {
      report(source, "is given more than once");
    } else {
      seen.add(slot);
      // A switch without a value turns on, as is usual.
      const raw =
        value ?? ((names.slots.get(slot) ?? settingAt(names.schema, slot))?.setting.kind === "true or false" ? "true" : undefined);
      if (raw === undefined) report(source, "needs a value");
      else if (slot === "config") file = { raw, source };
      else values.set(slot, { raw, source });
    }
  }
  return { values, file };
}

function readEnvironment(names: Names, environment: ConfigSources["environment"], report: Report): NamedLayer {
  const values = new Map<string, RawValue>();
  let file: RawValue | undefined;
  for (const source of Object.keys(environment).toSorted()) {
    const raw = environment[source];
    // Manifests and compose files write "not set" as an empty variable.
    if (!source.startsWith("BERTH_") || raw === undefined || raw === "") continue;
    const slot = names.byVariable.get(source) ?? repeatedPath(names.schema, source);
    if (source === "BERTH_CONFIG") file = { raw, source };
    else if (slot === undefined) {
      if (!FOREIGN_VARIABLE.test(source))
        report(source, `is not a setting${suggest(source, [...names.byVariable.keys(), "BERTH_CONFIG"])}`);
    } else if (values.has(slot)) report(source, `says the same as ${values.get(slot)?.source ?? ""}: keep one`);
    else values.set(slot, { raw, source });
  }
  return { values, file };
}

// A cluster sets these variables for all its programs, so they have the lowest priority. A collector for another protocol, or for no
// traces, is ignored. Source: OpenTelemetry specification, Environment Variable Specification.
function readStandardVariables(names: Names, environment: ConfigSources["environment"]): Layer {
  const isOff =
    environment["OTEL_SDK_DISABLED"]?.toLowerCase() === "true" ||
    environment["OTEL_TRACES_EXPORTER"] === "none" ||
    environment["OTEL_EXPORTER_OTLP_PROTOCOL"] === "grpc";
  if (isOff) return new Map();
  return new Map(
    listSettings(names.schema).flatMap(([path, { standardVariable }]): [string, RawValue][] => {
      const raw = standardVariable === undefined ? undefined : environment[standardVariable];
      return standardVariable === undefined || raw === undefined || raw === "" ? [] : [[path, { raw, source: standardVariable }]];
    }),
  );
}

interface Chosen {
  readonly value: unknown;
  readonly source: string;
}

/** The value of the highest layer that has one. The values of lower layers are still checked: a mistake is reported even if it is overridden. */
async function chooseValue(path: string, setting: Setting<unknown>, layers: readonly Layer[], readers: SecretReaders): Promise<Chosen> {
  const { context, report } = readers;
  let chosen: Chosen | undefined;
  for (const layer of layers) {
    const [first, second] = sourceNames(path, setting).flatMap(([name, from]) => {
      const given = layer.get(name);
      return given === undefined ? [] : [{ ...given, from }];
    });
    if (first !== undefined && second !== undefined) report(second.source, `and ${first.source} are both set: keep one`);
    // Files and commands of lower layers are left alone: what they hold is not wanted.
    const isWanted = first?.from === "text" || chosen === undefined;
    const found = first === undefined || !isWanted ? undefined : await readSecretFrom(first, first.from, readers);
    if (found === undefined) continue;
    const parsed = setting.parse(found.raw, context);
    if (!parsed.ok) report(sourceOf(found, path), parsed.problem);
    else chosen ??= { value: parsed.value, source: found.source };
  }
  if (
    chosen === undefined &&
    setting.isRequired === true &&
    layers.every((layer) => !sourceNames(path, setting).some(([name]) => layer.has(name)))
  )
    report(path, "is missing");
  return chosen ?? { value: standardValue(setting, context), source: "default" };
}

/** A line of the file does not name the setting; a flag and a variable do. */
function sourceOf(found: RawValue, path: string): string {
  return /^(?:-|BERTH_|OTEL_)/.test(found.source) ? found.source : `${found.source}: ${path}`;
}

function standardValue(setting: Setting<unknown>, context: ParseContext): unknown {
  if (setting.standard === undefined || setting.standard === "") return setting.standard ?? setting.absent;
  const parsed = setting.parse(setting.standard, context);
  if (!parsed.ok) throw new Error(`a default is not valid: ${setting.standard} ${parsed.problem}`);
  return parsed.value;
}

function buildSection(section: Section, prefix: string, values: ReadonlyMap<string, unknown>): unknown {
  return Object.fromEntries(
    Object.entries(section).map(([name, part]) => {
      const path = prefix + name;
      if (isSetting(part)) return [name, values.get(path)];
      if (!isRepeated(part)) return [name, buildSection(part, `${path}.`, values)];
      const start = `${path}.`;
      const keys = [
        ...new Set([...values.keys()].filter((each) => each.startsWith(start)).map((each) => each.slice(start.length).split(".", 1)[0]!)),
      ];
      const sections = keys.map((key): [string, unknown] => [key, buildSection(part.each, `${start}${key}.`, values)]);
      return [name, part.repeats === "list" ? sections.map(([, each]) => each) : Object.fromEntries(sections)];
    }),
  );
}

/** The settings with their values as text. */
export function listEffective(
  values: unknown,
  origins: ReadonlyMap<string, string>,
  settings: readonly (readonly [string, Setting<unknown>])[],
): readonly EffectiveSetting[] {
  return settings.map(([path, setting]) => {
    const value = path.split(".").reduce<unknown>((part, name) => (part as Record<string, unknown>)[name], values);
    return { path, shown: value === undefined ? "" : setting.show(value), source: origins.get(path) ?? "default" };
  });
}

function deepFreeze(value: unknown): void {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  Object.values(value).forEach(deepFreeze);
}
