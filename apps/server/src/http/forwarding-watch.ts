// Detects a proxy whose headers are not trusted, or that hides the name under which clients know the registry: clients are then sent to a
// wrong address, and all of them count as one. It is reported in the log once for each proxy, and to the refused client, because only one
// of the two may be read. Not here: which proxies are trusted (trusted-proxies.ts).
import type { IncomingHttpHeaders } from "node:http";
import { isIPv4 } from "node:net";
import type { Logger } from "../platform/log.ts";
import { lastOf, plainAddress, type ClientAddress, type ProxiedRequest } from "./trusted-proxies.ts";

/** The parts that the watch needs. */
export interface ForwardingWatchParts {
  readonly addressOf: (request: ProxiedRequest) => ClientAddress;
  /** Whether the address is a trusted proxy's. */
  readonly isTrusted: (address: string) => boolean;
  /** Whether the registry's address is configured: headers are ignored then. */
  readonly hasAddress: boolean;
  readonly logger: Logger;
}

/** Headers that proxies add. A direct client sends none of them. */
const FORWARDING = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded"] as const;

/** The number of proxies that are reported. Anybody can pretend to be one, and must not fill the log. */
const MAX_REPORTED = 8;

/**
 * Returns a function that describes what is wrong with the way a request came, worded to follow the text of a refusal; undefined if nothing
 * is.
 */
export function createForwardingWatch(parts: ForwardingWatchParts): (request: ProxiedRequest) => string | undefined {
  const { addressOf, isTrusted, hasAddress, logger } = parts;
  const reported = new Set<string>();

  function report(proxy: string, fields: Readonly<Record<string, unknown>>, message: string): void {
    const key = `${proxy} ${message}`;
    if (reported.has(key) || reported.size >= MAX_REPORTED) return;
    reported.add(key);
    logger.warn({ proxy, ...fields }, message);
  }

  return (request) => {
    const headers = FORWARDING.filter((name) => request.headers[name] !== undefined);
    if (headers.length === 0) return undefined;
    const proxy = plainAddress(request.socket.remoteAddress ?? "");
    const address = addressOf(request);
    const realmOrigin = `${address.scheme}://${address.host ?? ""}`;
    if (!isTrusted(proxy)) {
      const misleads = !hasAddress && namesAnother(request.headers, address);
      report(
        proxy,
        { headers, ...(misleads ? { realmOrigin } : {}) },
        misleads
          ? "a proxy is not believed: clients are sent to realmOrigin for their tokens, and all of them count as one in limits and lock-outs; name its network in http.trustedProxies, or set http.publicUrl"
          : "a proxy is not believed: all its clients count as one in limits and lock-outs; name its network in http.trustedProxies",
      );
      return misleads
        ? `the registry does not believe the ${headers.join(", ")} of the proxy in front of it and sends clients to ${realmOrigin} for their tokens: its operator has to set http.trustedProxies or http.publicUrl`
        : undefined;
    }
    if (hasAddress || isLoopback(address.remoteAddress)) return undefined;
    if (isLoopback(hostName(address.host))) {
      report(
        proxy,
        { realmOrigin },
        "a proxy hides the registry's name: clients are sent to realmOrigin for their tokens, which is not theirs; let it keep Host or send X-Forwarded-Host, or set http.publicUrl",
      );
      return `the proxy in front of the registry hides its name, so that clients are sent to ${realmOrigin} for their tokens: its operator has to let it keep Host or send X-Forwarded-Host, or set http.publicUrl`;
    }
    if (request.headers["x-forwarded-proto"] === undefined && address.scheme === "http") {
      report(
        proxy,
        { realmOrigin },
        "a proxy does not say by which scheme clients come: they are sent to realmOrigin for their tokens; where they come by https let it send X-Forwarded-Proto, or set http.publicUrl",
      );
    }
    return undefined;
  };
}

/** Whether the headers name another scheme or host than the registry's own. */
function namesAnother(headers: IncomingHttpHeaders, address: ClientAddress): boolean {
  const proto = lastOf(headers["x-forwarded-proto"])?.toLowerCase();
  const host = lastOf(headers["x-forwarded-host"])?.toLowerCase();
  const forwarded = lastOf(headers["forwarded"])?.toLowerCase() ?? "";
  const isHttps = proto === "https" || /(?:^|;) *proto="?https/.test(forwarded);
  const isElsewhere =
    isLoopback(hostName(address.host)) && !isLoopback(lastOf(headers["x-forwarded-for"] ?? headers["x-real-ip"]) ?? "::1");
  return (isHttps && address.scheme === "http") || (host !== undefined && host !== address.host?.toLowerCase()) || isElsewhere;
}

function hostName(host: string | undefined): string {
  return (host ?? "").replace(/:\d+$/, "");
}

function isLoopback(name: string): boolean {
  return name === "localhost" || name === "::1" || name === "[::1]" || (isIPv4(name) && name.startsWith("127."));
}
