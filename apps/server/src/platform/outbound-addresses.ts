// Which addresses the registry may connect to when somebody who is not its operator names them: public ones, and what the operator allows.
// Not here: names and their look-up (outbound-resolve.ts), connections (outbound.ts), what is warned of at the start (private-hosts.ts).
import { BlockList, isIP, isIPv4, isIPv6 } from "node:net";
import { dotted, wordsOf } from "./ip-addresses.ts";

/**
 * What an address is: reachable by everybody; of a network that somebody has for himself; or one that no service has (a cloud's metadata, link-local,
 * multicast, reserved), which only an entry of its own allows.
 */
export type AddressClass = "public" | "private" | "special";

type Network = readonly [address: string, prefix: number];

/** Source: RFC 1918, 6598, 1122, 4193. */
const PRIVATE: readonly Network[] = [
  ["10.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["::1", 128],
  ["fc00::", 7],
];

/** Source: IANA's registries of special-purpose addresses; the clouds' documents for those of metadata, which lie in networks of other classes. */
const SPECIAL: readonly Network[] = [
  ["0.0.0.0", 8],
  ["169.254.0.0", 16],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.31.196.0", 24],
  ["192.52.193.0", 24],
  ["192.88.99.0", 24],
  ["192.175.48.0", 24],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 4],
  ["240.0.0.0", 4],
  // Alibaba's metadata, Azure's host, Amazon's and Google's metadata in IPv6.
  ["100.100.100.200", 32],
  ["168.63.129.16", 32],
  ["fd00:ec2::", 32],
  ["fd20:ce::", 32],
  // Of what is routed in IPv6 at all.
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2620:4f:8000::", 48],
  ["3fff::", 20],
  ["fe80::", 10],
  ["ff00::", 8],
];

/** The only part of IPv6 that the Internet routes. Source: IANA, IPv6 Global Unicast Address Assignments. */
const GLOBAL_IPV6: Network = ["2000::", 3];

function listOf(networks: readonly Network[]): BlockList {
  const list = new BlockList();
  for (const [address, prefix] of networks) list.addSubnet(address, prefix, isIPv6(address) ? "ipv6" : "ipv4");
  return list;
}

const privateList = listOf(PRIVATE);
const specialList = listOf(SPECIAL);
const globalList = listOf([GLOBAL_IPV6]);

/** The IPv4 address that an IPv6 address is another way to write. */
function embeddedIpv4(words: readonly number[]): string | undefined {
  const startsWith = (...start: number[]): boolean => start.every((word, i) => words[i] === word);
  // Mapped, translated, and compatible (which `::` and `::1` are not). Source: RFC 4291, 2765.
  const isMapped = startsWith(0, 0, 0, 0, 0, 0xffff) || startsWith(0, 0, 0, 0, 0xffff, 0);
  const isCompatible = startsWith(0, 0, 0, 0, 0, 0) && words[6] !== 0;
  // Of NAT64 the prefix that everybody has; a network's own (RFC 8215) may hold the address anywhere, and is not global. Source: RFC 6052.
  const isNat64 = startsWith(0x64, 0xff9b, 0, 0, 0, 0);
  return isMapped || isCompatible || isNat64 ? dotted(words[6]!, words[7]!) : undefined;
}

/** The IPv4 address at the other end of a tunnel to which an IPv6 address leads: 6to4, ISATAP. Source: RFC 3056, 5214. */
function tunnelledIpv4(words: readonly number[]): string | undefined {
  if (words[0] === 0x2002) return dotted(words[1]!, words[2]!);
  return (words[4]! & 0xfdff) === 0 && words[5] === 0x5efe ? dotted(words[6]!, words[7]!) : undefined;
}

interface Judged {
  /** In the form that lists are asked with. */
  readonly plain: string;
  readonly family: "ipv4" | "ipv6";
  readonly class: AddressClass;
}

/** Undefined for a text that is no address, and for one with a zone, which is this link's. */
function judge(address: string): Judged | undefined {
  if (isIPv4(address)) return { plain: address, family: "ipv4", class: classIn(address, "ipv4") };
  if (!isIPv6(address) || address.includes("%")) return undefined;
  const words = wordsOf(address);
  const inner = embeddedIpv4(words);
  if (inner !== undefined) return { plain: inner, family: "ipv4", class: classIn(inner, "ipv4") };
  const found = classIn(address, "ipv6");
  const end = tunnelledIpv4(words);
  const isStray = found === "public" && (!globalList.check(address, "ipv6") || (end !== undefined && classIn(end, "ipv4") !== "public"));
  return { plain: address, family: "ipv6", class: isStray ? "special" : found };
}

/** What an address is; a text that is none is special. */
export function classifyAddress(address: string): AddressClass {
  return judge(address)?.class ?? "special";
}

function classIn(address: string, family: "ipv4" | "ipv6"): AddressClass {
  if (specialList.check(address, family)) return "special";
  return privateList.check(address, family) ? "private" : "public";
}

/** The operator's allow list, taken apart. */
export interface AllowList {
  /** Whether an address of this class may be connected to, which a host of this name led to. */
  permits(host: string, address: string, of: AddressClass): boolean;
}

/** One entry: a network in CIDR form, an address, a host name, or `*.` and the names below one. */
type Entry = { readonly network: Network } | { readonly name: string };

const NAME = /^(?:\*\.)?(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*$/;

/** Reads an entry; undefined where it is none. */
export function parseAllowed(text: string): Entry | undefined {
  const match = /^([0-9a-f:.]+)(?:\/(\d{1,3}))?$/i.exec(text);
  const family = isIP(match?.[1] ?? "");
  if (match?.[1] !== undefined && family !== 0) {
    const bits = family === 4 ? 32 : 128;
    const prefix = match[2] === undefined ? bits : Number(match[2]);
    return prefix <= bits ? { network: [match[1], prefix] } : undefined;
  }
  const name = text.toLowerCase();
  // What ends in a number is an address in a form that nobody should have to guess.
  return NAME.test(name) && !/(?:^|\.)(?:\d+|0x[0-9a-f]*)$/.test(name) ? { name } : undefined;
}

/**
 * Makes an allow list. A network of it opens what is private in it; what is special only where it lies within one of the special networks, so that
 * `0.0.0.0/0` opens nobody's metadata. A name opens what is private and never what is special. Errors: `TypeError` for what is no entry.
 */
export function createAllowList(entries: readonly string[]): AllowList {
  const open: Network[] = [];
  const openSpecial: Network[] = [];
  const names = new Set<string>();
  for (const text of entries) {
    const entry = parseAllowed(text);
    if (entry === undefined) throw new TypeError(`neither a network nor a host: ${text}`);
    if ("name" in entry) names.add(entry.name);
    else (isWithinSpecial(entry.network) ? openSpecial : open).push(entry.network);
  }
  const [openList, openSpecialList] = [listOf(open), listOf(openSpecial)];
  const hasName = (host: string): boolean => {
    if (names.has(host)) return true;
    for (let dot = host.indexOf("."); dot !== -1; dot = host.indexOf(".", dot + 1)) if (names.has(`*${host.slice(dot)}`)) return true;
    return false;
  };
  return {
    permits(host, address, of) {
      if (of === "public") return true;
      const judged = judge(address);
      if (judged === undefined) return false;
      const { plain, family } = judged;
      if (of === "special") return openSpecialList.check(plain, family);
      return openList.check(plain, family) || hasName(host);
    },
  };
}

function isWithinSpecial([address, prefix]: Network): boolean {
  const family = isIPv6(address) ? "ipv6" : "ipv4";
  return SPECIAL.some(([special, length]) => {
    if (isIPv6(special) !== isIPv6(address) || prefix < length) return false;
    return listOf([[special, length]]).check(address, family);
  });
}
