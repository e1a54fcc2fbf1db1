// Settings' paths, their names in the environment, and the name closest to a misspelled one. Not here: their values (config-load.ts).
import { editDistance } from "@berth/api/edit-distance";
import { CONFIG_SCHEMA } from "./config.ts";
import type { Repeated, Section, Setting } from "./config-kinds.ts";

/** A part of a schema. */
type Part = Section[string];

/** All settings with their paths, in the schema's order, except those of repeated sections. */
export function listSettings(section: Section = CONFIG_SCHEMA, prefix = ""): readonly (readonly [string, Setting<unknown>])[] {
  return Object.entries(section).flatMap(([name, part]) => {
    if (isSetting(part)) return [[prefix + name, part] as const];
    return isRepeated(part) ? [] : listSettings(part, `${prefix}${name}.`);
  });
}

/** All repeated sections with their paths. */
export function listRepeated(section: Section, prefix = ""): readonly (readonly [string, Repeated])[] {
  return Object.entries(section).flatMap(([name, part]) => {
    if (isRepeated(part)) return [[prefix + name, part] as const];
    return isSetting(part) ? [] : listRepeated(part, `${prefix}${name}.`);
  });
}

/** Whether a part of the schema is a setting. */
export function isSetting(part: Part): part is Setting<unknown> {
  return typeof (part as { readonly parse?: unknown }).parse === "function";
}

/** Whether a part of the schema is a repeated section. */
export function isRepeated(part: Part): part is Repeated {
  return typeof (part as { readonly repeats?: unknown }).repeats === "string";
}

const KEYS: Readonly<Record<Repeated["repeats"], RegExp>> = {
  // More than a hundred of anything do not belong in a file.
  list: /^(?:0|[1-9]\d?)$/,
  map: /^(?=.{1,64}$)[a-z0-9]+(?:-[a-z0-9]+)*$/,
};

/** Whether a repeated section can have this name. */
export function isKey({ repeats }: Repeated, key: string): boolean {
  return KEYS[repeats].test(key);
}

/** The part at a path, in which list sections are numbered and map sections named; undefined if there is none. */
export function partAt(schema: Section, path: string): Part | undefined {
  let part: Part | undefined = schema;
  for (const name of path.split(".")) {
    if (part === undefined || isSetting(part)) return undefined;
    if (isRepeated(part)) part = isKey(part, name) ? part.each : undefined;
    else part = Object.hasOwn(part, name) ? part[name] : undefined;
  }
  return part;
}

/**
 * The path of a repeated section's variable: `BERTH_OIDC_0_ISSUER` is oidc.0.issuer, `BERTH_UPSTREAMS_DOCKER_HUB_URL` is
 * upstreams.docker-hub.url. Of several possible paths, the one whose setting has the longest name.
 */
export function repeatedPath(schema: Section, variable: string): string | undefined {
  const found = listRepeated(schema).flatMap(([path, repeated]) => {
    const start = `${environmentName(path)}_`;
    if (!variable.startsWith(start)) return [];
    return listSettings(repeated.each).flatMap(([leaf, setting]) =>
      sourceNames(leaf, setting).flatMap(([name]) => {
        const end = environmentName(name).slice("BERTH".length);
        if (!variable.endsWith(end) || variable.length <= start.length + end.length) return [];
        const key = variable.slice(start.length, -end.length).toLowerCase().replaceAll("_", "-");
        return isKey(repeated, key) ? [{ path: `${path}.${key}.${name}`, length: end.length }] : [];
      }),
    );
  });
  return found.toSorted((one, other) => other.length - one.length)[0]?.path;
}

/** How a secret `x` can be given besides as `x`: `xFile` is the path of a file that holds it, `xCommand` a command that prints it. */
const SECRET_SOURCES = ["File", "Command"] as const;
/** One of `SECRET_SOURCES`, or the text itself. */
export type SecretSource = "text" | (typeof SECRET_SOURCES)[number];

/** The names under which a setting can be given, with what stands there. */
export function sourceNames(name: string, { isSecret }: Pick<Setting<unknown>, "isSecret">): readonly (readonly [string, SecretSource])[] {
  return [[name, "text"], ...(isSecret ? SECRET_SOURCES.map((source) => [name + source, source] as const) : [])];
}

/** The setting that a name is for, and what stands there; undefined if there is none. */
export function settingAt(schema: Section, name: string): { path: string; setting: Setting<unknown>; from: SecretSource } | undefined {
  const found = partAt(schema, name);
  if (found !== undefined) return isSetting(found) ? { path: name, setting: found, from: "text" } : undefined;
  for (const from of SECRET_SOURCES) {
    if (!name.endsWith(from)) continue;
    const path = name.slice(0, -from.length);
    const secret = partAt(schema, path);
    if (secret !== undefined && isSetting(secret) && secret.isSecret) return { path, setting: secret, from };
  }
  return undefined;
}

/** The environment's name of a path: `http.publicUrl` is BERTH_HTTP_PUBLIC_URL. */
export function environmentName(path: string): string {
  return `BERTH_${path
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replaceAll(".", "_")
    .toUpperCase()}`;
}

/** `; did you mean X?` if a known name is close, else an empty text. */
export function suggest(name: string, known: Iterable<string>, prefix = ""): string {
  let nearest: string | undefined;
  // A third of the letters may differ: enough for a typing error or a missing part, too few for a random word.
  let least = Math.max(2, Math.floor(Math.min(name.length, 64) / 3)) + 1;
  for (const candidate of known) {
    // A name whose end is missing, often its unit, is close however long the end is.
    const isStart = name.length > 4 && candidate.startsWith(name);
    if (!isStart && Math.abs(candidate.length - name.length) >= least) continue;
    const distance = isStart ? 1 : editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < least) [nearest, least] = [candidate, distance];
  }
  return nearest === undefined ? "" : `; did you mean ${prefix}${nearest}?`;
}
