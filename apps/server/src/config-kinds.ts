// The kinds of settings: how each is written, checked, given a unit and shown. Every parser returns a value or a problem, and never throws.
// Not here: the settings (config.ts) and the sources of values (config-load.ts).
import { BlockList, isIP } from "node:net";
import { resolve } from "node:path";
import { addNetwork, readNetwork } from "./platform/networks.ts";
import { parsePostgresAddress } from "./platform/database/postgres-hosts.ts";

/** A value, or a problem, worded to follow a setting's name. */
export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };

/** The context of a parser. */
export interface ParseContext {
  /** Relative paths start here. */
  readonly directory: string;
}

/** One setting. `T` is the type in the program. */
export interface Setting<T> {
  /** The kind of value in words: `a size`. */
  readonly kind: string;
  /** Its purpose, and the reason for the default. */
  readonly about: string;
  /** The default as it would be written in the file; undefined: none. */
  readonly standard: string | undefined;
  /** It is never shown, and may also be given by the path of a file. */
  readonly isSecret: boolean;
  /** A second, short name: `listen` makes `--listen` and `BERTH_LISTEN`. */
  readonly alias: string | undefined;
  /** A standard's variable with the same meaning, such as OTEL_SERVICE_NAME; it applies if no other source sets it. */
  readonly standardVariable: string | undefined;
  /** It must be set: for sections that exist only if an operator adds them. */
  readonly isRequired?: boolean;
  /** The value of a setting that is not set and has no `standard`. */
  readonly absent: T | undefined;
  parse(raw: unknown, context: ParseContext): Parsed<T>;
  /** The value as text for people; a secret is masked. */
  show(value: T): string;
}

/** An address to listen on. No `host` means every interface. */
export interface ListenAddress {
  readonly host: string | undefined;
  readonly port: number;
}

interface Words {
  readonly about: string;
  readonly standard?: string;
  readonly alias?: string;
  readonly standardVariable?: string;
}

interface Bounds {
  readonly min: number;
  readonly max: number;
}

/** The longest text of a setting: more than any sensible value, less than what would damage a log line. */
const TEXT_LENGTH_MAX = 4096;
const MASK = "********";

const good = <T>(value: T): Parsed<T> => ({ ok: true, value });
const bad = (problem: string): Parsed<never> => ({ ok: false, problem });

/** A raw value for a message: quoted and shortened. */
function quote(raw: unknown): string {
  if (typeof raw === "object" && raw !== null) return Array.isArray(raw) ? "a list" : "a section";
  const text = String(raw);
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
}

function make<T>(kind: string, words: Words, rest: Partial<Setting<T>> & Pick<Setting<T>, "parse">): Setting<T> {
  return {
    kind,
    about: words.about,
    standard: words.standard,
    alias: words.alias,
    standardVariable: words.standardVariable,
    isSecret: false,
    absent: undefined,
    show: (value) => (value === undefined ? "" : String(value)),
    ...rest,
  };
}

/** The raw value as text: a number or a truth value of the file becomes the text that was written. */
function asText(raw: unknown): string | undefined {
  if (typeof raw === "string") return raw.trim();
  if (typeof raw === "number" || typeof raw === "boolean" || typeof raw === "bigint") return String(raw);
  return undefined;
}

function parseText(raw: unknown, kind: string, isSecret = false): Parsed<string> {
  const value = asText(raw);
  const shown = isSecret ? "" : `, not ${quote(raw)}`;
  if (value === undefined || value === "") return bad(`must be ${kind}${shown}`);
  if (value.length > TEXT_LENGTH_MAX) return bad(`is longer than ${TEXT_LENGTH_MAX} characters`);
  // oxlint-disable-next-line no-control-regex -- control characters are refused here, because they forge log lines and headers
  if (/[\u0000-\u001f\u007f]/.test(value)) return bad("holds a control character");
  return good(value);
}

/** A part of the schema: settings, further sections, and repeated sections. */
export interface Section {
  readonly [name: string]: Section | Setting<unknown> | Repeated;
}

/** Sections of one shape: a list, or a map under names that an operator chooses. They contain no further lists. */
export interface Repeated<S extends Section = Section, K extends "list" | "map" = "list" | "map"> {
  readonly repeats: K;
  readonly about: string;
  readonly each: S;
}

/** A list of sections. */
export function listOf<S extends Section>(each: S, { about }: Pick<Words, "about">): Repeated<S, "list"> {
  return { repeats: "list", about, each };
}

/** Sections under names: lower-case letters, digits and single dashes between them. */
export function mapOf<S extends Section>(each: S, { about }: Pick<Words, "about">): Repeated<S, "map"> {
  return { repeats: "map", about, each };
}

/** Marks a setting as required. */
export function required<T>(setting: Setting<T>): Setting<T> {
  return { ...setting, isRequired: true };
}

/** Marks a setting as optional: `undefined` if it is not set. An empty value also means not set. */
export function optional<T>(setting: Setting<T>): Setting<T | undefined> {
  return {
    ...setting,
    parse: (raw, context) => (raw === "" ? good(undefined) : setting.parse(raw, context)),
    show: (value) => (value === undefined ? "" : setting.show(value)),
  };
}

/** A line of text, at most 4096 characters; `pattern` narrows it and `wanted` describes it. */
export function text(words: Words & { readonly pattern?: RegExp; readonly wanted?: string }): Setting<string> {
  const kind = words.wanted ?? "text";
  return make<string>(kind, words, {
    parse: (raw) => {
      const parsed = parseText(raw, kind);
      if (!parsed.ok || words.pattern === undefined || words.pattern.test(parsed.value)) return parsed;
      return bad(`must be ${kind}, not ${quote(raw)}`);
    },
  });
}

/** A secret text of at least `minLength` characters, or of a form, `pattern`, that `wanted` describes; undefined if not set. */
export function secret(
  words: Words & { readonly minLength?: number; readonly pattern?: RegExp; readonly wanted?: string },
): Setting<string | undefined> {
  const { minLength = 1, pattern = /^/ } = words;
  const kind = words.wanted ?? (minLength > 1 ? `a secret of at least ${minLength} characters` : "a secret");
  return optional(
    make<string>(kind, words, {
      isSecret: true,
      parse: (raw) => {
        const parsed = parseText(raw, kind, true);
        return parsed.ok && (parsed.value.length < minLength || !pattern.test(parsed.value)) ? bad(`must be ${kind}`) : parsed;
      },
      show: () => MASK,
    }),
  );
}

/** The address of a PostgreSQL database, on one host or several; it may contain a password, so it counts as a secret. */
export function databaseUrl(words: Words): Setting<string | undefined> {
  const kind = "an address such as postgres://user:password@host:5432/name";
  return optional(
    make<string>(kind, words, {
      isSecret: true,
      parse: (raw) => {
        const parsed = parseText(raw, kind, true);
        if (!parsed.ok) return parsed;
        const address = parsePostgresAddress(parsed.value);
        if (!address.ok) return bad(address.problem);
        if (address.hosts.some(({ url }) => (URL.parse(url)?.pathname.length ?? 0) < 2))
          return bad("must name the database after the host");
        return parsed;
      },
      show: maskDatabaseUrl,
    }),
  );
}

function maskDatabaseUrl(value: string): string {
  const address = parsePostgresAddress(value);
  const url = address.ok ? URL.parse(address.hosts[0]?.url ?? "") : null;
  if (!address.ok || url === null) return MASK;
  if (url.password !== "") url.password = MASK;
  // Drivers also accept a password as a query parameter.
  for (const name of url.searchParams.keys()) if (/pass|key|secret/i.test(name)) url.searchParams.set(name, MASK);
  return url.host === "" ? url.href : url.href.replace(url.host, address.hosts.map(({ shown }) => shown).join(","));
}

/** A whole number within bounds. */
export function integer(words: Words & Bounds): Setting<number> {
  const kind = `a whole number from ${words.min} to ${words.max}`;
  return make<number>(kind, words, {
    parse: (raw) => {
      const written = asText(raw);
      if (written === undefined || !/^\d{1,15}$/.test(written)) return bad(`must be ${kind}, not ${quote(raw)}`);
      const value = Number(written);
      return value < words.min || value > words.max ? bad(`must be ${kind}, not ${value}`) : good(value);
    },
  });
}

/** A fraction from 0 to 1. */
export function ratio(words: Words): Setting<number> {
  const kind = "a number from 0 to 1";
  return make<number>(kind, words, {
    parse: (raw) => {
      const written = asText(raw);
      if (written === undefined || !/^(?:\.\d{1,10}|[01](?:\.\d{1,10})?)$/.test(written)) return bad(`must be ${kind}, not ${quote(raw)}`);
      const value = Number(written);
      return value > 1 ? bad(`must be ${kind}, not ${value}`) : good(value);
    },
  });
}

const SIZE_UNITS: ReadonlyMap<string, number> = new Map([
  ["", 1],
  ["b", 1],
  ["kib", 2 ** 10],
  ["mib", 2 ** 20],
  ["gib", 2 ** 30],
  ["tib", 2 ** 40],
  ["kb", 1e3],
  ["mb", 1e6],
  ["gb", 1e9],
  ["tb", 1e12],
]);

/** A size in bytes; written as `4MiB`, `10GB` or a plain number of bytes. */
export function sizeBytes(words: Words & { readonly min: string; readonly max: string }): Setting<number> {
  const min = readSize(words.min) ?? 0;
  const max = readSize(words.max) ?? 0;
  const kind = `a size from ${words.min} to ${words.max}, such as 8MiB`;
  return make<number>(kind, words, {
    parse: (raw) => {
      const value = readSize(asText(raw) ?? "");
      return value === undefined || value < min || value > max ? bad(`must be ${kind}, not ${quote(raw)}`) : good(value);
    },
    show: showSize,
  });
}

function readSize(written: string): number | undefined {
  const match = /^(\d{1,16}(?:\.\d{1,6})?) ?([a-z]{0,3})$/i.exec(written);
  const unit = SIZE_UNITS.get(match?.[2]?.toLowerCase() ?? "");
  if (match === null || unit === undefined) return undefined;
  const value = Number(match[1]) * unit;
  return Number.isSafeInteger(value) ? value : undefined;
}

/** A size in the largest unit that divides it. */
export function showSize(value: number): string {
  for (const [name, unit] of [
    ["TiB", 2 ** 40],
    ["GiB", 2 ** 30],
    ["MiB", 2 ** 20],
    ["KiB", 2 ** 10],
  ] as const) {
    if (value >= unit && value % unit === 0) return `${value / unit}${name}`;
  }
  return String(value);
}

const DURATION_UNITS: ReadonlyMap<string, number> = new Map([
  ["w", 604_800],
  ["d", 86_400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
]);

/** A time in whole seconds; written as `90s`, `5m`, `1h30m`, `7d` or a plain number of seconds. */
export function seconds(words: Words & { readonly min: string; readonly max: string }): Setting<number> {
  const min = readDuration(words.min) ?? 0;
  const max = readDuration(words.max) ?? 0;
  const kind = `a time from ${words.min} to ${words.max}, such as 90s, 5m or 24h`;
  return make<number>(kind, words, {
    parse: (raw) => {
      const value = readDuration(asText(raw) ?? "");
      return value === undefined || value < min || value > max ? bad(`must be ${kind}, not ${quote(raw)}`) : good(value);
    },
    show: showDuration,
  });
}

function readDuration(written: string): number | undefined {
  if (/^\d{1,12}$/.test(written)) return Number(written);
  if (!/^(?:\d{1,9}(?:\.\d{1,3})?[wdhms]){1,5}$/.test(written)) return undefined;
  let total = 0;
  for (const [, amount, unit] of written.matchAll(/([\d.]+)([wdhms])/g)) total += Number(amount) * (DURATION_UNITS.get(unit ?? "") ?? 0);
  return Number.isSafeInteger(total) ? total : undefined;
}

/** A time in the largest unit that divides it; weeks are shown as days. */
export function showDuration(value: number): string {
  for (const [name, unit] of DURATION_UNITS) if (name !== "w" && value >= unit && value % unit === 0) return `${value / unit}${name}`;
  return `${value}s`;
}

/** `true` or `false`. */
export function flag(words: Words): Setting<boolean> {
  return make<boolean>("true or false", words, {
    parse: (raw) => {
      const written = asText(raw);
      return written === "true" || written === "false" ? good(written === "true") : bad(`must be true or false, not ${quote(raw)}`);
    },
  });
}

/** One of a few words. */
export function oneOf<const T extends string>(choices: readonly T[], words: Words): Setting<T> {
  const kind = `one of ${choices.join(", ")}`;
  return make<T>(kind, words, {
    parse: (raw) => {
      const found = choices.find((choice) => choice === raw);
      return found === undefined ? bad(`must be ${kind}, not ${quote(raw)}`) : good(found);
    },
  });
}

/** A path; a relative one starts at the working directory. The value is absolute. */
export function path(words: Words): Setting<string> {
  return make<string>("a path", words, {
    parse: (raw, context) => {
      // A path whose default is derived from another setting may be written empty.
      if (raw === "" && words.standard === "") return good("");
      const parsed = parseText(raw, "a path");
      return parsed.ok ? good(resolve(context.directory, parsed.value)) : parsed;
    },
  });
}

/** `host:port`, `[::1]:port`, or `:port` for every interface. Port 0 asks the machine for a free one. */
export function listenAddress(words: Words): Setting<ListenAddress> {
  const kind = "an address such as 127.0.0.1:5000, [::1]:5000 or :5000";
  return make<ListenAddress>(kind, words, {
    parse: (raw) => {
      const match = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]*|\*)):(\d{1,5})$/i.exec(asText(raw) ?? "");
      const port = Number(match?.[3]);
      if (match === null || port > 65_535 || (match[1] !== undefined && isIP(match[1]) !== 6))
        return bad(`must be ${kind}, not ${quote(raw)}`);
      const host = match[1] ?? match[2];
      return good(Object.freeze({ host: host === "" || host === "*" ? undefined : host, port }));
    },
    show: showListenAddress,
  });
}

/** The address as it is written in a setting. */
export function showListenAddress(value: ListenAddress): string {
  const host = value.host ?? "";
  return host.includes(":") ? `[${host}]:${value.port}` : `${host}:${value.port}`;
}

/** The origin of a web server, `https://host[:port]`, without a path; the value has no slash at its end. */
export function origin(words: Words): Setting<string> {
  const kind = "an address such as https://registry.example.com, without a path";
  return make<string>(kind, words, {
    parse: (raw) => {
      const url = URL.parse(asText(raw) ?? "");
      const isPlain = url !== null && /^https?:$/.test(url.protocol) && url.pathname === "/" && url.search === "" && url.hash === "";
      return isPlain && url.username === "" && url.password === "" ? good(url.origin) : bad(`must be ${kind}, not ${quote(raw)}`);
    },
  });
}

/** An http or https address that may have a path. */
export function httpUrl(words: Words): Setting<string> {
  const kind = "an address that starts with http:// or https://";
  return make<string>(kind, words, {
    parse: (raw) => {
      const url = URL.parse(asText(raw) ?? "");
      if (url === null || !/^https?:$/.test(url.protocol)) return bad(`must be ${kind}, not ${quote(raw)}`);
      return url.username === "" && url.password === "" ? good(url.href) : bad("must not hold a user name or password");
    },
  });
}

/** What is wrong with an item of a list of networks; undefined for nothing. */
type CheckNetwork = (item: string) => string | undefined;

/** Networks in CIDR form or single addresses, which say exactly which addresses are meant. */
export function exactNetworks(words: Words): Setting<readonly string[]> {
  return networks(words, (item) => readNetwork(item).problem);
}

/** Networks in CIDR form or single addresses: a list in the file, separated by commas elsewhere. At most 256, each checked for every request. */
export function networks(words: Words, check: CheckNetwork = () => undefined): Setting<readonly string[]> {
  const kind = "networks such as 10.0.0.0/8, 192.168.1.7";
  return make<readonly string[]>(kind, words, {
    absent: Object.freeze([]),
    parse: (raw) => {
      const items: unknown[] = Array.isArray(raw) ? raw : (asText(raw) ?? "").split(",").filter((item) => item.trim() !== "");
      if (items.length > 256) return bad("holds more than 256 networks");
      const values: string[] = [];
      for (const item of items) {
        const value = asText(item) ?? "";
        if (!addNetwork(new BlockList(), value)) return bad(`must be ${kind}, not ${quote(item)}`);
        const problem = check(value);
        if (problem !== undefined) return bad(`holds ${quote(item)}, which ${problem}`);
        values.push(value);
      }
      return Array.isArray(raw) || asText(raw) !== undefined ? good(Object.freeze(values)) : bad(`must be ${kind}, not ${quote(raw)}`);
    },
    show: (value) => value.join(", "),
  });
}
