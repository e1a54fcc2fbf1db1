// One directory: who somebody is in it, whether a password is theirs, and which groups they are in. It asks, and decides nothing: who signs in is
// said in directory-login.ts. Not here: connections (platform/ldap).
import { canonicalDn } from "@berth/api/distinguished-name";
import { type BindResult, type LdapConnection, type LdapEntry, textsOf } from "../../platform/ldap/ldap-connection.ts";
import { LdapError } from "../../platform/ldap/ldap-errors.ts";
import { allOf, equals, type LdapFilter, parseFilter } from "../../platform/ldap/ldap-filter.ts";
import { StartupError } from "../../platform/startup-error.ts";
import type { LdapServers } from "../../platform/ldap/ldap-servers.ts";
import { type FoundGroups, findGroups } from "./directory-groups.ts";
import type { DirectorySettings, Person } from "./person.ts";

/** A directory. Errors of each: `LdapError`. */
export interface Directory {
  readonly name: string;
  readonly settings: DirectorySettings;
  /** Which directory it is: under another one the same subject is somebody else. */
  readonly realm: string;
  /** Who is called so; undefined where nobody is. */
  findByName(name: string): Promise<Person | "several" | undefined>;
  findBySubject(subject: string): Promise<Person | undefined>;
  findGroups(person: Person): Promise<FoundGroups>;
  tryPassword(person: Person, password: string): Promise<BindResult>;
  /** Whether it is left alone now, since it did not answer. */
  isResting(): boolean;
  close(): void;
}

/** What directories change with a password. OpenLDAP and 389 Directory Server, Active Directory, FreeIPA. */
const STAMPS = ["pwdChangedTime", "pwdLastSet", "krbLastPwdChange"] as const;
/** What says that an account is disabled. */
const STATES = ["userAccountControl", "accountExpires", "nsAccountLock", "pwdAccountLockedTime", "krbPrincipalExpiration"] as const;

/** Makes one of its settings. Errors: `StartupError` for a filter that is none. */
export function createDirectory(name: string, settings: DirectorySettings, servers: LdapServers, now: () => number): Directory {
  const { users, groups } = settings;
  const isPerson = parseFilter(users.filter);
  const isGroup = parseFilter(groups.filter);
  if (isPerson === undefined || isGroup === undefined) {
    throw new StartupError(`auth.ldap.${name}.${isPerson === undefined ? "users" : "groups"}.filter is no filter.`);
  }
  const isDn = users.idAttribute.toLowerCase() === "dn";
  const wanted = [
    users.nameAttribute,
    users.emailAttribute,
    users.fullNameAttribute,
    ...(isDn ? [] : [users.idAttribute]),
    ...(groups.from === "memberOf" ? ["memberOf"] : []),
    ...STAMPS,
    ...STATES,
  ];
  const attributes = [...new Set(wanted)];

  async function findOne(connection: LdapConnection, base: string, scope: "base" | "sub", filter: LdapFilter) {
    const found = await connection.search({ base, scope, filter, attributes, limit: 2 });
    // Of two nobody knows whose account it would be.
    return found.length > 1 ? "several" : found[0] === undefined ? undefined : toPerson(found[0]);
  }

  function toPerson(entry: LdapEntry): Person {
    const subject = isDn ? canonicalDn(entry.dn) : subjectOf(entry, users.idAttribute);
    if (subject === undefined) {
      throw new LdapError(
        "misconfigured",
        `${entry.dn} has not just one ${users.idAttribute}, or the account that searches may not read it (users.idAttribute)`,
      );
    }
    return {
      dn: entry.dn,
      subject: `${users.idAttribute.toLowerCase()}:${subject}`,
      name: textsOf(entry, users.nameAttribute)[0] ?? "",
      email: textsOf(entry, users.emailAttribute)[0],
      fullName: textsOf(entry, users.fullNameAttribute)[0],
      passwordStamp: STAMPS.flatMap((stamp) => textsOf(entry, stamp).slice(0, 1))[0],
      isDisabled: isDisabled(entry, now()),
      entry,
    };
  }

  return {
    name,
    settings,
    realm: realmOf(users.base),
    findByName: (typed) =>
      servers.search((connection) => findOne(connection, users.base, "sub", allOf(isPerson, equals(users.nameAttribute, typed)))),
    async findBySubject(subject) {
      // Subjects of before another attribute was set are nobody's.
      if (!subject.startsWith(`${users.idAttribute.toLowerCase()}:`)) return undefined;
      const value = subject.slice(subject.indexOf(":") + 1);
      const found = await servers.search((connection) => {
        if (isDn) return findOne(connection, value, "base", isPerson).catch(noneIfMissing);
        const raw = /^hex:([0-9a-f]+)$/.exec(value);
        const sought = equals(users.idAttribute, raw === null ? value : Buffer.from(raw[1]!, "hex"));
        return findOne(connection, users.base, "sub", allOf(isPerson, sought));
      });
      return found === "several" ? undefined : found;
    },
    findGroups: (person) => servers.search((connection) => findGroups(connection, { settings: groups, isGroup, person })),
    tryPassword: (person, password) => servers.tryPassword(person.dn, password),
    isResting: servers.isResting,
    close: servers.close,
  };
}

/** Source: RFC 4511, appendix A. */
const NO_SUCH_OBJECT = 32;

/** An entry that is sought by its name is no fault of the settings where it is missing. */
function noneIfMissing(error: unknown): undefined {
  if (!(error instanceof LdapError) || error.resultCode !== NO_SUCH_OBJECT) throw error;
}

/** The one value of what tells entries apart: text, or what is none in hexadecimal. */
function subjectOf(entry: LdapEntry, attribute: string): string | undefined {
  const values = entry.attributes.get(attribute.toLowerCase()) ?? [];
  const [value] = values;
  if (values.length !== 1 || value === undefined || value.length === 0) return undefined;
  // Sixteen bytes may by chance be text, and must be the same subject on each day.
  if (attribute.toLowerCase() === "objectguid") return `hex:${value.toString("hex")}`;
  return textsOf(entry, attribute)[0];
}

/** A directory is known by its domain, so that people may be looked for in another part of it. */
function realmOf(base: string): string {
  const canonical = canonicalDn(base) ?? base;
  return /(?:^|,)(dc=.*)$/.exec(canonical)?.[1] ?? canonical;
}

/** `userAccountControl`: ACCOUNTDISABLE. Source: MS-ADTS, section 2.2.16. */
const ACCOUNT_DISABLE = 2;
/** The number of 100 ns between 1601 and 1970, in milliseconds. */
const EPOCH_OF_1601_MS = 11_644_473_600_000;

/** Whether an entry says of itself that it may not be used. What it does not say is no reason. */
export function isDisabled(entry: LdapEntry, nowMs: number): boolean {
  const first = (name: (typeof STATES)[number]): string => textsOf(entry, name)[0] ?? "";
  if ((Number(first("userAccountControl")) & ACCOUNT_DISABLE) !== 0) return true;
  if (first("nsAccountLock").toLowerCase() === "true") return true;
  // Locked until somebody unlocks it: a time is one of wrong passwords. Source: draft-behera-ldap-password-policy, section 5.3.3.
  if (first("pwdAccountLockedTime").startsWith("000001010000")) return true;
  const expires = Number(first("accountExpires"));
  // 0 and the largest number mean never.
  if (expires > 0 && expires < 9e18 && expires / 10_000 - EPOCH_OF_1601_MS <= nowMs) return true;
  const kerberos = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(first("krbPrincipalExpiration"));
  if (kerberos === null) return false;
  const [year, month, day, hour, minute, second] = kerberos.slice(1).map(Number) as [number, number, number, number, number, number];
  return Date.UTC(year, month - 1, day, hour, minute, second) <= nowMs;
}
