// Filters of searches. What people type becomes a value of one, as bytes of its own: it is never part of a text that is read as a filter, so that
// no character of it means anything. Not here: the settings that have filters (access/ldap).
import { AndFilter, EqualityFilter, ExtensibleFilter, type Filter, FilterParser, OrFilter, PresenceFilter } from "ldapts";

/** A filter. */
export type LdapFilter = Filter;

/** The filter that an operator wrote; undefined for what is none. Source: RFC 4515. */
export function parseFilter(text: string): LdapFilter | undefined {
  if (!text.startsWith("(") || !text.endsWith(")")) return undefined;
  try {
    return FilterParser.parseString(text);
  } catch {
    return undefined;
  }
}

/** Entries with this very value. */
export function equals(attribute: string, value: string | Buffer): LdapFilter {
  return new EqualityFilter({ attribute, value });
}

/** Entries that have any value. */
export function isPresent(attribute: string): LdapFilter {
  return new PresenceFilter({ attribute });
}

/** Entries that meet all. */
export function allOf(...filters: readonly LdapFilter[]): LdapFilter {
  return new AndFilter({ filters: [...filters] });
}

/** Entries that meet one. */
export function anyOf(filters: readonly LdapFilter[]): LdapFilter {
  return new OrFilter({ filters: [...filters] });
}

/** Entries that have an entry as a value, or one that has it, and so on: Active Directory's own rule. Source: MS-ADTS, section 3.1.1.3.4.4.3. */
export function inChain(attribute: string, dn: string): LdapFilter {
  return new ExtensibleFilter({ matchType: attribute, rule: "1.2.840.113556.1.4.1941", value: dn });
}
