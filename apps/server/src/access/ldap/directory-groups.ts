// Which groups somebody is in, in a directory: those that say so, those that the entry names, and groups in groups, with bounds and against circles.
// Not here: what groups give (outside-identities.ts).
import { canonicalDn, ldapGroupKey } from "@berth/api/distinguished-name";
import { type LdapConnection, type LdapEntry, textsOf } from "../../platform/ldap/ldap-connection.ts";
import { LdapError } from "../../platform/ldap/ldap-errors.ts";
import { allOf, anyOf, equals, inChain, isPresent, type LdapFilter } from "../../platform/ldap/ldap-filter.ts";
import type { DirectorySettings, Person } from "./person.ts";

/** The groups of somebody. */
export interface FoundGroups {
  /** As groups are called in this registry. */
  readonly keys: readonly string[];
  /** Whether there are more, which do not count. */
  readonly isCut: boolean;
}

interface GroupQuestion {
  readonly settings: DirectorySettings["groups"];
  /** Which entries are groups. */
  readonly isGroup: LdapFilter;
  readonly person: Person;
}

/** Groups of one person; more are left out. Each may be a membership here. */
const MAX_GROUPS = 1000;
/** How many members one search asks for. Active Directory refuses filters that are longer than this by far. */
const AT_ONCE = 40;
/** What Active Directory says that it is. Source: MS-ADTS, section 3.1.1.3.4.3 (LDAP_CAP_ACTIVE_DIRECTORY_OID). */
const ACTIVE_DIRECTORY = "1.2.840.113556.1.4.800";

/** Finds them. Errors: `LdapError`. */
export async function findGroups(connection: LdapConnection, question: GroupQuestion): Promise<FoundGroups> {
  const { settings, person } = question;
  const found = new Map<string, LdapEntry | undefined>();
  let isCut = false;
  /** Takes groups over that are new; gives their names. */
  const take = (groups: readonly { readonly dn: string; readonly entry: LdapEntry | undefined }[]): string[] =>
    groups.flatMap(({ dn, entry }) => {
      const key = canonicalDn(dn);
      if (key === undefined || found.has(key)) return [];
      if (found.size >= MAX_GROUPS) {
        isCut = true;
        return [];
      }
      found.set(key, entry);
      return [dn];
    });

  if (settings.from === "memberOf") {
    let next = take(textsOf(person.entry, "memberOf").map((dn) => ({ dn, entry: undefined })));
    for (let depth = 0; next.length > 0 && (depth < settings.depth || depth === 0); depth++) {
      const above: string[] = [];
      for (const dn of next) {
        const entry = await readGroup(connection, question, dn);
        // Also asked where groups are not followed: a filter says which of them count.
        if (entry === undefined) found.delete(canonicalDn(dn)!);
        else if (settings.depth > 0) above.push(...take(textsOf(entry, "memberOf").map((each) => ({ dn: each, entry: undefined }))));
        if (entry !== undefined) found.set(canonicalDn(dn)!, entry);
      }
      next = above;
    }
    for (const dn of next) found.delete(canonicalDn(dn)!);
  } else if (settings.base !== undefined) {
    if (settings.from === "chain") {
      await mustBeActiveDirectory(connection);
      take(await searchGroups(connection, question, [inChain(settings.memberAttribute, person.dn)]));
    } else {
      const sought = settings.memberIs === "dn" ? person.dn : person.name;
      let next = take(await searchGroups(connection, question, [equals(settings.memberAttribute, sought)]));
      // Groups have no name that people type, so that only DNs lead further.
      const depth = settings.memberIs === "dn" ? settings.depth : 0;
      for (let level = 0; next.length > 0 && level < depth; level++) {
        const above: string[] = [];
        for (let at = 0; at < next.length; at += AT_ONCE) {
          const members = next.slice(at, at + AT_ONCE).map((dn) => equals(settings.memberAttribute, dn));
          above.push(...take(await searchGroups(connection, question, members)));
        }
        next = above;
      }
    }
  }
  const keys = [...found].flatMap(([dn, entry]) => {
    if (settings.calledBy === "dn") return [dn];
    return entry === undefined ? [] : textsOf(entry, settings.nameAttribute).slice(0, 1).map(ldapGroupKey);
  });
  return { keys: [...new Set(keys)].toSorted(), isCut };
}

async function searchGroups(connection: LdapConnection, { settings, isGroup }: GroupQuestion, members: readonly LdapFilter[]) {
  const filter = allOf(isGroup, members.length === 1 ? members[0]! : anyOf(members));
  const attributes = [settings.nameAttribute];
  const entries = await connection.search({ base: settings.base!, scope: "sub", filter, attributes, limit: MAX_GROUPS + 1 });
  return entries.map((entry) => ({ dn: entry.dn, entry }));
}

/** A group by its name; undefined where it is none that counts, or is not there. */
async function readGroup(connection: LdapConnection, { settings, isGroup }: GroupQuestion, dn: string): Promise<LdapEntry | undefined> {
  const canonical = canonicalDn(dn);
  const base = settings.base === undefined ? undefined : canonicalDn(settings.base);
  if (canonical === undefined || (base !== undefined && canonical !== base && !canonical.endsWith(`,${base}`))) return undefined;
  const attributes = [settings.nameAttribute, "memberOf"];
  const [entry] = await connection.search({ base: dn, scope: "base", filter: isGroup, attributes, limit: 1 });
  return entry;
}

/** Other directories take the rule for a filter that nothing meets, and everybody would silently be in no group. */
async function mustBeActiveDirectory(connection: LdapConnection): Promise<void> {
  const attributes = ["supportedCapabilities"];
  const [root] = await connection.search({ base: "", scope: "base", filter: isPresent("objectClass"), attributes, limit: 1 });
  if (root !== undefined && textsOf(root, "supportedCapabilities").includes(ACTIVE_DIRECTORY)) return;
  throw new LdapError("misconfigured", "groups.from is chain, and the directory is no Active Directory: set members or memberOf");
}
