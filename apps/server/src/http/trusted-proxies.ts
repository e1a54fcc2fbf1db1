// The client's address and the address that it used: X-Forwarded-* is trusted only from the proxies that the configuration names. Not here:
// who the caller is (access/authenticate.ts).
import type { IncomingHttpHeaders } from "node:http";
import { BlockList, isIP, isIPv6 } from "node:net";
import { addNetwork } from "../platform/networks.ts";

/** The parts of a request that are read here. */
export interface ProxiedRequest {
  readonly headers: IncomingHttpHeaders;
  readonly socket: { readonly remoteAddress?: string | undefined; readonly encrypted?: boolean };
}

/** Where a request comes from, and which server address the client used. */
export interface ClientAddress {
  /** The client's address; IPv4 in its plain form. Empty when the connection is already gone. */
  readonly remoteAddress: string;
  readonly scheme: "http" | "https";
  /** `name[:port]` as the client wrote it; undefined when it is missing or malformed. */
  readonly host: string | undefined;
}

/** The longest chain of proxies that is followed: a longer one is forged. */
const HOPS_MAX = 32;

/** Creates a check whether an address is in one of the networks, given in CIDR form. */
export function createTrust(networks: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const network of networks) if (!addNetwork(list, network)) throw new TypeError(`not a network: ${network}`);
  return (address) => isIP(address) !== 0 && list.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

/** Creates the function that finds a request's addresses, for trusted networks in CIDR form. */
export function createClientAddressReader(trusted: readonly string[]): (request: ProxiedRequest) => ClientAddress {
  // Cached because a connection's peer never changes, and a proxy sends thousands of requests over one connection.
  const peers = new WeakMap<object, boolean>();
  const isTrusted = createTrust(trusted);

  function isTrustedPeer(socket: ProxiedRequest["socket"], address: string): boolean {
    let answer = peers.get(socket);
    if (answer === undefined) peers.set(socket, (answer = isTrusted(address)));
    return answer;
  }

  return ({ headers, socket }) => {
    const peer = plainAddress(socket.remoteAddress ?? "");
    const scheme = socket.encrypted === true ? "https" : "http";
    if (trusted.length === 0 || !isTrustedPeer(socket, peer)) return { remoteAddress: peer, scheme, host: readHost(headers.host) };
    const proto = lastOf(headers["x-forwarded-proto"])?.toLowerCase();
    return {
      remoteAddress: findClient(peer, headers["x-forwarded-for"]),
      scheme: proto === "https" || proto === "http" ? proto : scheme,
      host: readHost(lastOf(headers["x-forwarded-host"])) ?? readHost(headers.host),
    };
  };

  /** Walks from the nearest hop outwards and stops at the first one that is not a trusted proxy: everything left of it may be forged. */
  function findClient(peer: string, header: string | string[] | undefined): string {
    const hops = (Array.isArray(header) ? header.join(",") : (header ?? "")).split(",");
    let client = peer;
    for (let i = hops.length - 1, seen = 0; i >= 0 && seen < HOPS_MAX; i--, seen++) {
      const hop = plainAddress(withoutPort((hops[i] ?? "").trim()));
      if (isIP(hop) === 0) break;
      client = hop;
      if (!isTrusted(hop)) break;
    }
    return client;
  }
}

/** The server's origin as clients see it: the configured one, or the request's; undefined if the request does not say. */
export function originOf(address: ClientAddress, publicUrl: string | undefined): string | undefined {
  if (publicUrl !== undefined) return publicUrl;
  return address.host === undefined ? undefined : `${address.scheme}://${address.host}`;
}

/** The local address of a connection as an origin, for clients that send no Host. */
export function originOfSocket({ localAddress = "", localPort = 0, encrypted }: LocalSocket): string {
  const host = plainAddress(localAddress);
  return `${encrypted === true ? "https" : "http"}://${isIPv6(host) ? `[${host}]` : host}:${localPort}`;
}

interface LocalSocket {
  readonly localAddress?: string | undefined;
  readonly localPort?: number | undefined;
  readonly encrypted?: boolean;
}

/** The value that the nearest proxy added. */
export function lastOf(header: string | string[] | undefined): string | undefined {
  const all = Array.isArray(header) ? header.at(-1) : header;
  return all?.slice(all.lastIndexOf(",") + 1).trim();
}

/** A dual-stack socket shows IPv4 peers as ::ffff:1.2.3.4, which no IPv4 network matches. */
export function plainAddress(address: string): string {
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}

/** Some proxies write 1.2.3.4:567 or [::1]:567. */
function withoutPort(hop: string): string {
  const match = /^\[([^\]]+)\](?::\d+)?$/.exec(hop) ?? /^(\d+\.\d+\.\d+\.\d+):\d+$/.exec(hop);
  return match?.[1] ?? hop;
}

/**
 * A host is copied into Location and challenge headers, so only characters of a host are accepted. 261: the longest name, a colon, a port.
 */
function readHost(host: string | undefined): string | undefined {
  return host !== undefined && host.length <= 261 && /^(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?$/i.test(host) ? host : undefined;
}
