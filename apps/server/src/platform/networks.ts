// Lists of networks from which something may be used, or may not: read, brought into one form, and asked. Pure.
// Not here: what has such lists (access/network-rules.ts, access-settings.ts), whose address counts (http/trusted-proxies.ts).
import { BlockList, isIP } from "node:net";
import { dotted, readAddress, wordsOf } from "./ip-addresses.ts";

/** Networks in CIDR form, or single addresses. */
export interface NetworkLists {
  /** Empty: all that are not denied. */
  readonly allow: readonly string[];
  /** They count before those that are allowed. */
  readonly deny: readonly string[];
}

/** Lists that can be asked. */
export interface NetworkRules extends NetworkLists {
  /** Whether something may be used from an address; never from what is no address. */
  permits(address: string): boolean;
}

interface Network {
  readonly address: string;
  readonly prefix: number;
  readonly family: "ipv4" | "ipv6";
}

/** An entry in its one form, or what is wrong with it. */
export type ReadNetwork = { readonly network: string; readonly problem?: undefined } | { readonly problem: string };

function parse(text: string): Network | string {
  const match = /^([0-9a-f:.]{2,45})(?:\/(0|[1-9]\d{0,2}))?$/i.exec(text);
  const written = match?.[1] ?? "";
  const plain = readAddress(written);
  if (plain === undefined) return "must be a network such as 10.0.0.0/8 or 2001:db8::/32, or an address";
  const bits = written.includes(":") ? 128 : 32;
  const given = match?.[2] === undefined ? bits : Number(match[2]);
  if (given > bits) return `has a prefix of more than ${bits} bits`;
  const isWrapped = plain.family === "ipv4" && bits === 128;
  if (isWrapped && given < 96)
    return "covers more than the addresses of IPv4 that it wraps: write it as IPv4, or with a prefix of 96 bits at least";
  return { address: plain.text, prefix: isWrapped ? given - 96 : given, family: plain.family };
}

/** The first address of a network. */
function firstOf({ address, prefix, family }: Network): string {
  const size = family === "ipv4" ? 8 : 16;
  const parts = family === "ipv4" ? address.split(".").map(Number) : wordsOf(address);
  const masked = parts.map((part, i) => {
    const kept = Math.min(Math.max(prefix - i * size, 0), size);
    return part & ((0xffff << (size - kept)) & ((1 << size) - 1));
  });
  if (family === "ipv4") return masked.join(".");
  return readAddress(masked.map((word) => word.toString(16)).join(":"))?.text ?? dotted(masked[6]!, masked[7]!);
}

/** Reads an entry. Bits behind the prefix are refused: nobody should have to guess whether a network was meant or an address. */
export function readNetwork(text: string): ReadNetwork {
  const network = parse(text);
  if (typeof network === "string") return { problem: network };
  const { address, prefix, family } = network;
  const first = firstOf(network);
  if (first !== address)
    return { problem: `has bits behind its prefix: write ${first}/${prefix} for the network, or ${address} for the address` };
  return { network: prefix === (family === "ipv4" ? 32 : 128) ? address : `${address}/${prefix}` };
}

/** A list for each family: Node.js takes an address of IPv4 for one of IPv6 that wraps it, so that all of IPv6 would hold all of IPv4. */
function listOf(texts: readonly string[]): Readonly<Record<Network["family"], BlockList>> | undefined {
  if (texts.length === 0) return undefined;
  const lists = { ipv4: new BlockList(), ipv6: new BlockList() };
  for (const text of texts) {
    const network = parse(text);
    if (typeof network === "string") throw new TypeError(`${text}: ${network}`);
    lists[network.family].addSubnet(network.address, network.prefix, network.family);
  }
  return lists;
}

/** Makes rules of lists; undefined where both are empty. Errors: TypeError for what is no network. */
export function createNetworkRules({ allow, deny }: NetworkLists): NetworkRules | undefined {
  const [allowed, denied] = [listOf(allow), listOf(deny)];
  if (allowed === undefined && denied === undefined) return undefined;
  return {
    allow,
    deny,
    permits(address) {
      const plain = readAddress(address);
      if (plain === undefined) return false;
      const { text, family } = plain;
      if (denied?.[family].check(text, family) === true) return false;
      return allowed?.[family].check(text, family) ?? true;
    },
  };
}

/** Adds a network in CIDR form or a single address to a list; false if it is neither. */
export function addNetwork(list: BlockList, network: string): boolean {
  const match = /^([0-9a-f:.]+)(?:\/(\d{1,3}))?$/i.exec(network);
  const family = isIP(match?.[1] ?? "");
  if (match?.[1] === undefined || family === 0) return false;
  const bits = family === 4 ? 32 : 128;
  const prefix = match[2] === undefined ? bits : Number(match[2]);
  if (prefix > bits) return false;
  list.addSubnet(match[1], prefix, family === 4 ? "ipv4" : "ipv6");
  return true;
}
