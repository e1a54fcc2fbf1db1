// The kinds of settings that directories have: names of entries and attributes, filters, addresses. Not here: the other kinds (config-kinds.ts),
// what is asked with them (platform/ldap).
import { type Parsed, type Setting, text } from "./config-kinds.ts";
import { canonicalDn } from "@berth/api/distinguished-name";

/** Names of attributes; options such as `;binary` are none. Source: RFC 4512, section 1.4. */
const ATTRIBUTE_NAME = /^(?:[A-Za-z][A-Za-z0-9-]{0,63}|\d+(?:\.\d+){1,30})$/;

interface Words {
  readonly about: string;
  readonly standard: string;
}

/** A setting that is text, and more than a pattern can say. */
function checked(setting: Setting<string>, kind: string, isRight: (value: string) => boolean): Setting<string> {
  return {
    ...setting,
    kind,
    parse(raw, context) {
      const parsed = setting.parse(raw, context);
      return parsed.ok && !isRight(parsed.value) ? { ok: false, problem: `must be ${kind}, not ${JSON.stringify(parsed.value)}` } : parsed;
    },
  };
}

/** The name of an attribute. */
export function attributeName(words: Words): Setting<string> {
  return text({ ...words, pattern: ATTRIBUTE_NAME, wanted: "the name of an attribute, such as uid" });
}

/** The name of an entry. */
export function entryName(about: string): Setting<string> {
  return checked(text({ about }), "the name of an entry, such as ou=people,dc=example,dc=org", (value) => canonicalDn(value) !== undefined);
}

/** A filter of entries. */
export function ldapFilter(words: Words): Setting<string> {
  return checked(text(words), "a filter such as (objectClass=person)", isFilter);
}

/** Whether a text has a filter's form. The library that sends it has another look when the directory is opened. Source: RFC 4515, section 3. */
function isFilter(text: string): boolean {
  const item = /\((?:[A-Za-z0-9.;-]+(?::dn)?(?::[A-Za-z0-9.-]+)?|:[A-Za-z0-9.:-]+)(?::=|[~<>]?=)(?:[^()\\]|\\[0-9A-Fa-f]{2})*\)/g;
  // From the inside out: what is a filter becomes one sign, until the whole is.
  let rest = text.replaceAll(item, ".");
  for (let before = ""; before !== rest;) {
    before = rest;
    rest = rest.replaceAll(/\((?:[&|]\.+|!\.)\)/g, ".");
  }
  return rest === ".";
}

/** Several texts: a list in the file, separated elsewhere. 64 at most. */
export function separated(
  about: string,
  { kind, separator, isRight }: { readonly kind: string; readonly separator: string; readonly isRight: (value: string) => boolean },
): Setting<readonly string[]> {
  const { standard, alias, standardVariable } = text({ about });
  return {
    kind,
    about,
    standard,
    alias,
    standardVariable,
    isSecret: false,
    absent: Object.freeze([]),
    parse(raw): Parsed<readonly string[]> {
      const items: readonly unknown[] | undefined = Array.isArray(raw) ? raw : typeof raw === "string" ? raw.split(separator) : undefined;
      const texts = items?.map((item) => (typeof item === "string" ? item.trim() : "")).filter((item) => item !== "");
      const wrong = texts?.find((item) => !isRight(item));
      if (texts === undefined || wrong !== undefined) return { ok: false, problem: `must be ${kind}, not ${JSON.stringify(wrong ?? raw)}` };
      return texts.length > 64 ? { ok: false, problem: "holds more than 64" } : { ok: true, value: Object.freeze(texts) };
    },
    show: (value) => value.join(`${separator} `),
  };
}

/** Addresses of a directory's servers. */
export function ldapAddresses(about: string): Setting<readonly string[]> {
  const kind = "addresses such as ldaps://dc1.example.org, ldap://ldap.example.org:389";
  return separated(about, { kind, separator: ",", isRight: isLdapAddress });
}

function isLdapAddress(written: string): boolean {
  const url = URL.parse(written);
  const isPlain = url !== null && (url.pathname === "" || url.pathname === "/") && url.search === "" && url.hash === "";
  return isPlain && /^ldaps?:$/.test(url.protocol) && url.hostname !== "" && url.username === "" && url.password === "";
}
