// From an address that somebody gave to the addresses of machines that may be connected to: read, looked up and checked once; whoever connects gets
// just these. Not here: what is public (outbound-addresses.ts), connections (outbound.ts).
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { type AddressClass, type AllowList, classifyAddress } from "./outbound-addresses.ts";
import { OutboundError } from "./outbound-errors.ts";

/** Gives the addresses of a host's name. Rejects where there are none. */
export type Resolve = (host: string) => Promise<readonly string[]>;

/** The system's way, with its file of hosts and its search list, as operators expect. */
export const systemResolve: Resolve = async (host) => (await lookup(host, { all: true, order: "verbatim" })).map(({ address }) => address);

/** Where a request goes. */
export interface Target {
  readonly url: URL;
  /** Lower case, without brackets and without the root's dot. */
  readonly host: string;
  /** Scheme, host and port: what may be said of it. */
  readonly place: string;
  /** Checked. Empty where the proxy is to look the name up. */
  readonly addresses: readonly string[];
  /** Whether all of them are public: from such a place no redirect leads to one that is not. */
  readonly isPublic: boolean;
}

/** What is connected to. */
export interface ResolveRules {
  readonly allow: AllowList;
  readonly resolve: Resolve;
  readonly insecureHttp: boolean;
  /** How long a name server may take. */
  readonly timeoutMs: number;
  /** Tests call addresses of their own machine public. */
  readonly classify?: ((address: string) => AddressClass) | undefined;
}

/** Longer ones are nobody's. Source: RFC 9110 recommends 8000 octets. */
export const ADDRESS_LENGTH_MAX = 8000;

/** Reads an address without asking anybody. Errors: `OutboundError` ADDRESS. */
export function readAddress(address: string | URL, rules: Pick<ResolveRules, "insecureHttp">): Pick<Target, "url" | "host" | "place"> {
  const text = String(address);
  const url = text.length > ADDRESS_LENGTH_MAX ? null : URL.parse(text);
  if (url === null) throw new OutboundError("ADDRESS", "it is no address");
  if (url.protocol !== "https:" && url.protocol !== "http:") throw new OutboundError("ADDRESS", "an address begins with https://");
  if (url.protocol === "http:" && !rules.insecureHttp)
    throw new OutboundError(
      "ADDRESS",
      "http:// is not allowed, since anybody on the way reads and changes it: use https://, or set outbound.insecureHttp",
    );
  if (url.username !== "" || url.password !== "") throw new OutboundError("ADDRESS", "an address holds no user name and no password");
  const host = hostOf(url);
  if (host === "") throw new OutboundError("ADDRESS", "an address names a host");
  return { url, host, place: url.origin };
}

/** The host in lower case, without brackets and without the root's dot. */
export function hostOf(url: URL): string {
  return url.hostname
    .replace(/^\[(.*)\]$/, "$1")
    .replace(/\.$/, "")
    .toLowerCase();
}

/**
 * Reads an address, looks its name up, and keeps what may be connected to. `isConfigured`: the operator himself wrote this origin, so whatever it leads to
 * is meant. Errors: `OutboundError` ADDRESS, UNRESOLVED, REFUSED, TIMEOUT.
 */
export async function resolveTarget(
  address: string | URL,
  rules: ResolveRules,
  { isConfigured = false, mayBeUnknown = false }: { readonly isConfigured?: boolean; readonly mayBeUnknown?: boolean } = {},
): Promise<Target> {
  const read = readAddress(address, { insecureHttp: rules.insecureHttp || isConfigured });
  const { host, place } = read;
  const found = isIP(host) === 0 ? await lookUp(host, place, rules, mayBeUnknown) : [host];
  const classified = found.map((each) => [each, (rules.classify ?? classifyAddress)(each)] as const);
  const permitted = classified.filter(([each, of]) => isConfigured || rules.allow.permits(host, each, of));
  if (permitted.length === 0 && found.length > 0)
    throw new OutboundError("REFUSED", `${place} leads to an address that is not public, and outbound.allow does not name it`);
  return {
    ...read,
    addresses: permitted.map(([each]) => each),
    isPublic: permitted.every(([, of]) => of === "public"),
  };
}

async function lookUp(
  host: string,
  place: string,
  { resolve, timeoutMs }: ResolveRules,
  mayBeUnknown: boolean,
): Promise<readonly string[]> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new OutboundError("TIMEOUT", `the name of ${place} was not looked up in time`)), timeoutMs);
  try {
    const found = await Promise.race([resolve(host), late]);
    if (found.length > 0) return found;
  } catch (error) {
    if (error instanceof OutboundError) throw error;
  } finally {
    clearTimeout(timer);
  }
  if (mayBeUnknown) return [];
  throw new OutboundError("UNRESOLVED", `the name of ${place} is not known to the name servers`);
}
