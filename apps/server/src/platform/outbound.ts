// What the registry fetches from others by itself: webhooks, upstreams, issuers. Names are looked up once, what they lead to is checked, and connections
// go to just that, on each hop anew. Not here: what is public (outbound-addresses.ts), the look-up (outbound-resolve.ts), one exchange
// (outbound-exchange.ts), proxies (outbound-proxy.ts).
import { Agent, type IncomingHttpHeaders } from "node:http";
import { Agent as TlsAgent } from "node:https";
import { getCACertificates } from "node:tls";
import type { Duplex } from "node:stream";
import { type AddressClass, createAllowList } from "./outbound-addresses.ts";
import { OutboundError } from "./outbound-errors.ts";
import { exchange, type ExchangeAnswer, type OutboundTimeouts, StaleConnection, type TargetOptions } from "./outbound-exchange.ts";
import { openTunnel, secureTunnel } from "./outbound-proxy.ts";
import { readAddress, type Resolve, type ResolveRules, resolveTarget, systemResolve, type Target } from "./outbound-resolve.ts";
import type { Metrics } from "./metrics.ts";
import type { Tracing } from "./tracing.ts";
import { VERSION } from "./version.ts";

/** A request to others. */
export interface OutboundRequest {
  /** GET where it is not given. */
  readonly method?: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Names in lower case. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Bytes that come piece by piece are sent as fast as they are taken, and not again: such a request is tried once. */
  readonly body?: string | Uint8Array | AsyncIterable<Uint8Array>;
  /** Ends it at any time, the answer's body included. */
  readonly signal?: AbortSignal;
  /** A larger answer is an error. Infinity for whoever reads as much as he wants. */
  readonly maxAnswerBytes: number;
  /** How many redirects of a GET or HEAD are followed; none where it is not given, and the redirect is the answer. */
  readonly maxRedirects?: number;
  readonly timeouts?: Partial<OutboundTimeouts>;
  /** The operator himself wrote this origin into the configuration, so it may be http:// and lead anywhere; a redirect to another may not. */
  readonly isConfigured?: boolean;
  /** Authorities that are believed besides the others here, PEM. */
  readonly ca?: string;
}

/** An answer of others. Its body is read once, or discarded; otherwise its connection is held until the time is over. */
export interface OutboundAnswer extends ExchangeAnswer {
  /** Where it came from in the end. It may hold secrets. */
  readonly url: URL;
  readonly headers: IncomingHttpHeaders;
  /** The whole body. */
  bytes(): Promise<Buffer>;
  /** The same as UTF-8. */
  text(): Promise<string>;
}

/** Sends a request for one purpose. Errors: `OutboundError`; what a body throws. */
export type OutboundFetch = (address: string | URL, request: OutboundRequest) => Promise<OutboundAnswer>;

/** What the registry can fetch. */
export interface Outbound<P extends string> {
  /** The function that counts for a purpose. */
  for(purpose: P): OutboundFetch;
  /** Whether an address may be asked for at all, for whoever stores one: nothing is looked up. Errors: `OutboundError` ADDRESS. */
  check(address: string): void;
  /** The same, with a look-up. Errors: `OutboundError` ADDRESS, REFUSED, UNRESOLVED, TIMEOUT. */
  probe(address: string): Promise<void>;
  /** Gives all connections up. */
  close(): void;
}

/** How it works. */
export interface OutboundOptions<P extends string> {
  /** All there are: they are labels of metrics. */
  readonly purposes: readonly P[];
  /** Networks and hosts, as in `outbound.allow`. */
  readonly allow?: readonly string[] | undefined;
  readonly insecureHttp?: boolean | undefined;
  readonly proxy?: string | undefined;
  readonly noProxy?: readonly string[] | undefined;
  readonly proxyResolves?: boolean | undefined;
  /** Authorities besides the system's, PEM. */
  readonly ca?: string | undefined;
  readonly metrics?: Metrics | undefined;
  readonly tracing?: Tracing | undefined;
  /** Tests hand in name servers of their own. */
  readonly resolve?: Resolve | undefined;
  /** Tests call addresses of their own machine public. */
  readonly classify?: ((address: string) => AddressClass) | undefined;
}

const TIMEOUTS: OutboundTimeouts = { connectMs: 10_000, headersMs: 30_000, idleMs: 30_000, wholeMs: 60_000 };

/** Connections to one place, and all at once, that are used or kept. More wait for their turn, within `connectMs`. */
const PER_PLACE_MAX = 32;
const CONNECTIONS_MAX = 512;
const KEPT_MAX = 32;
/** So many kept connections in a row may turn out to be closed. */
const STALE_MAX = 2;
/** Less than what servers commonly keep them for. */
const KEPT_MS = 15_000;

/** What goes along to another origin; everything else may be a secret under a name that nobody knows. */
const HARMLESS_HEADERS =
  /^(?:accept|accept-encoding|accept-language|user-agent|range|if-none-match|if-modified-since|if-range|traceparent)$/;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Buckets in seconds, from a service beside us to one that takes as long as it may. */
const BUCKETS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const OUTCOMES = ["answered", "refused", "timeout", "failed", "aborted"] as const;

/** Makes it. Nothing is connected to before the first request. */
export function createOutbound<P extends string>(options: OutboundOptions<P>): Outbound<P> {
  const { purposes, tracing } = options;
  const rules: ResolveRules = {
    allow: createAllowList(options.allow ?? []),
    resolve: options.resolve ?? systemResolve,
    insecureHttp: options.insecureHttp ?? false,
    timeoutMs: TIMEOUTS.connectMs,
    classify: options.classify,
  };
  const proxy = options.proxy === undefined ? undefined : new URL(options.proxy);
  const direct = createAllowList(options.noProxy ?? []);
  const agents = createAgents(proxy);
  const counted = countOutcomes(options.metrics, purposes);
  let standardCa: readonly string[] | undefined;

  function authorities(ca: string | undefined): readonly string[] | undefined {
    if (options.ca === undefined && ca === undefined) return undefined;
    standardCa ??= [...getCACertificates("default"), ...(options.ca === undefined ? [] : [options.ca])];
    return ca === undefined ? standardCa : [...standardCa, ca];
  }

  function agentFor(target: Target, isConfigured: boolean): Agent {
    const isDirect =
      proxy === undefined ||
      (target.addresses.length > 0 && target.addresses.every((each) => direct.permits(target.host, each, "private")));
    return agents[isConfigured ? "configured" : "checked"][isDirect ? "direct" : "proxied"][
      target.url.protocol === "https:" ? "tls" : "plain"
    ];
  }

  async function once(
    target: Target,
    isConfigured: boolean,
    request: OutboundRequest,
    headers: Record<string, string>,
  ): Promise<ExchangeAnswer> {
    const { body } = request;
    const send = () =>
      exchange(target, agentFor(target, isConfigured), {
        method: request.method ?? "GET",
        headers,
        body,
        maxAnswerBytes: request.maxAnswerBytes,
        timeouts: { ...TIMEOUTS, ...request.timeouts },
        signal: request.signal ?? new AbortController().signal,
        ca: authorities(request.ca),
      });
    const mayRepeat = body === undefined || typeof body === "string" || body instanceof Uint8Array;
    // What is sent anew may arrive twice: a place that closes kept connections when it has read from them is not asked for ever.
    for (let tries = 0; ; tries++) {
      try {
        return await send();
      } catch (error) {
        if (!(error instanceof StaleConnection)) throw error;
        if (!mayRepeat || tries === STALE_MAX) throw error.error;
      }
    }
  }

  async function follow(address: string | URL, request: OutboundRequest): Promise<OutboundAnswer> {
    const { method = "GET", maxRedirects = 0, isConfigured = false } = request;
    const look = { isConfigured, mayBeUnknown: proxy !== undefined && options.proxyResolves === true };
    let target = await resolveTarget(address, rules, look);
    const configured = isConfigured ? target.place : undefined;
    let headers: Record<string, string> = { "user-agent": `Berth/${VERSION}`, ...request.headers, ...traceHeader(tracing) };
    for (let hops = 0; ; hops++) {
      const answer = await once(target, target.place === configured, request, headers);
      const location = answer.headers.location;
      if (!REDIRECTS.has(answer.status) || location === undefined || maxRedirects === 0 || (method !== "GET" && method !== "HEAD"))
        return withReaders(answer, target.url);
      answer.discard();
      if (hops >= maxRedirects) throw new OutboundError("REDIRECT", `${target.place} leads on to more than ${maxRedirects} redirects`);
      const next = await checkHop(target, location, look, configured);
      if (next.place !== target.place)
        headers = Object.fromEntries(Object.entries(headers).filter(([name]) => HARMLESS_HEADERS.test(name.toLowerCase())));
      target = next;
    }
  }

  /** A redirect is an address that a stranger gave: it is read, looked up and checked like the first one, and leads neither off TLS nor inside. */
  async function checkHop(
    from: Target,
    location: string,
    look: { readonly mayBeUnknown: boolean },
    configured: string | undefined,
  ): Promise<Target> {
    const url = URL.parse(location, from.url.href);
    if (url === null) throw new OutboundError("REDIRECT", `${from.place} redirects to what is no address`);
    if (from.url.protocol === "https:" && url.protocol !== "https:")
      throw new OutboundError("REDIRECT", `${from.place} redirects away from TLS, to ${url.origin}`);
    const next = await resolveTarget(url, rules, { ...look, isConfigured: url.origin === configured });
    if (from.isPublic && !next.isPublic)
      throw new OutboundError(
        "REFUSED",
        `${from.place} redirects to ${next.place}, which is not public: only an address that begins there may lead there`,
      );
    return next;
  }

  return {
    for: (purpose) => {
      const count = counted(purpose);
      return (address, request) => {
        const work = () => count(() => follow(address, request));
        return tracing === undefined ? work() : tracing.span(`fetch ${purpose}`, "client", { "berth.purpose": purpose }, work);
      };
    },
    check: (address) => void readAddress(address, rules),
    async probe(address) {
      await resolveTarget(address, rules, { mayBeUnknown: proxy !== undefined && options.proxyResolves === true });
    },
    close: () => {
      for (const way of Object.values(agents))
        for (const pair of Object.values(way)) for (const agent of Object.values(pair)) agent.destroy();
    },
  };
}

function traceHeader(tracing: Tracing | undefined): Record<string, string> {
  const { trace_id: trace, span_id: span, trace_flags: flags } = tracing?.logFields() ?? {};
  return trace === undefined || span === undefined ? {} : { traceparent: `00-${trace}-${span}-${flags ?? "00"}` };
}

function withReaders(answer: ExchangeAnswer, url: URL): OutboundAnswer {
  const bytes = async (): Promise<Buffer> => {
    const pieces: Buffer[] = [];
    for await (const piece of answer.body) pieces.push(piece);
    return Buffer.concat(pieces);
  };
  return { ...answer, url, bytes, text: async () => (await bytes()).toString("utf8") };
}

type AgentPair = Readonly<Record<"plain" | "tls", Agent>>;
type Agents = Readonly<Record<"checked" | "configured", Readonly<Record<"direct" | "proxied", AgentPair>>>>;

/** What was connected to as the operator's own is never used for what users name, and what goes through the proxy not for what does not. */
function createAgents(proxy: URL | undefined): Agents {
  const options = {
    keepAlive: true,
    maxSockets: PER_PLACE_MAX,
    maxTotalSockets: CONNECTIONS_MAX,
    maxFreeSockets: KEPT_MAX,
    timeout: KEPT_MS,
  };
  const pair = (isProxied: boolean): AgentPair => {
    const [plain, tls] = [new Agent(options), new TlsAgent(options)];
    if (isProxied && proxy !== undefined) for (const agent of [plain, tls]) tunnelBy(agent, proxy, agent === tls);
    return { plain, tls };
  };
  const ways = () => ({ direct: pair(false), proxied: pair(true) });
  return { checked: ways(), configured: ways() };
}

function tunnelBy(agent: Agent, proxy: URL, isTls: boolean): void {
  agent.createConnection = (options, done) => {
    const { target } = options as unknown as TargetOptions;
    const open = async (): Promise<void> => {
      let socket: Duplex;
      try {
        const plain = await openTunnel(proxy, target, TIMEOUTS.connectMs);
        socket = isTls ? secureTunnel(plain, options as object) : plain;
      } catch (error) {
        done?.(error as Error, undefined as unknown as Duplex);
        return;
      }
      done?.(null, socket);
    };
    void open();
    return undefined;
  };
}

/** Counts how requests ended, and how long they took to the answer's headers. */
function countOutcomes<P extends string>(metrics: Metrics | undefined, purposes: readonly P[]) {
  const totals = purposes.flatMap((purpose) => OUTCOMES.map((outcome) => ({ labels: { purpose, outcome }, value: 0 })));
  metrics?.addCounters("outbound_requests_total", "Requests to other services, by purpose and by what became of them.", () => totals);
  const seconds = metrics?.addHistogram({
    name: "outbound_seconds",
    help: "Time to the headers of an answer of other services, redirects included, by purpose.",
    kinds: purposes,
    buckets: BUCKETS,
  });
  return (purpose: P) =>
    async <T>(work: () => Promise<T>): Promise<T> => {
      const began = performance.now();
      const count = (outcome: (typeof OUTCOMES)[number]): void => {
        totals.find(({ labels }) => labels.purpose === purpose && labels.outcome === outcome)!.value++;
        seconds?.[purpose]((performance.now() - began) / 1000);
      };
      try {
        const answer = await work();
        count("answered");
        return answer;
      } catch (error) {
        count(outcomeOf(error));
        throw error;
      }
    };
}

function outcomeOf(error: unknown): (typeof OUTCOMES)[number] {
  if (!(error instanceof OutboundError)) return "failed";
  if (["ADDRESS", "REFUSED", "REDIRECT"].includes(error.code)) return "refused";
  return error.code === "TIMEOUT" ? "timeout" : error.code === "ABORTED" ? "aborted" : "failed";
}
