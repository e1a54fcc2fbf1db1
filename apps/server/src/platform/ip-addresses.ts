// The one form of an address of the Internet Protocol, whichever way it was written. Not here: which addresses count for what (networks.ts,
// outbound-addresses.ts).
import { isIPv4, isIPv6 } from "node:net";

/** The eight words of an IPv6 address without a zone. */
export function wordsOf(address: string): number[] {
  // The URL parser writes every notation, a dotted end as well, in one way.
  const [head = "", tail] = new URL(`http://[${address}]/`).hostname.slice(1, -1).split("::");
  const read = (part: string): number[] => (part === "" ? [] : part.split(":").map((word) => Number.parseInt(word, 16)));
  if (tail === undefined) return read(head);
  const [before, after] = [read(head), read(tail)];
  return [...before, ...Array.from({ length: 8 - before.length - after.length }, () => 0), ...after];
}

/** Two words as an IPv4 address. */
export const dotted = (high: number, low: number): string => `${high >> 8}.${high & 0xff}.${low >> 8}.${low & 0xff}`;

/** An address in the one form in which it is compared. */
export interface PlainAddress {
  readonly text: string;
  readonly family: "ipv4" | "ipv6";
}

/** An address in one form: IPv4 where IPv6 only wraps it (RFC 4291, mapped), and without a zone, which is this machine's. Undefined for what is none. */
export function readAddress(text: string): PlainAddress | undefined {
  if (isIPv4(text)) return { text, family: "ipv4" };
  const zone = text.indexOf("%");
  const bare = zone === -1 ? text : text.slice(0, zone);
  if (!isIPv6(bare)) return undefined;
  const words = wordsOf(bare);
  const isMapped = words.slice(0, 5).every((word) => word === 0) && words[5] === 0xffff;
  if (isMapped) return { text: dotted(words[6]!, words[7]!), family: "ipv4" };
  return { text: new URL(`http://[${bare}]/`).hostname.slice(1, -1), family: "ipv6" };
}
