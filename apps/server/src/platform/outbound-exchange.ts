// One request and its answer on one connection: limits of time and size, back-pressure both ways. Not here: where it may go (outbound-resolve.ts),
// redirects, connections that are kept (outbound.ts).
import { type Agent, type IncomingHttpHeaders, type IncomingMessage, request as httpRequest, type ClientRequest } from "node:http";
import { request as httpsRequest, type RequestOptions } from "node:https";
import { isIPv6, type LookupFunction, type TcpSocketConnectOpts } from "node:net";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { urlToHttpOptions } from "node:url";
import { describeFailure, OutboundError } from "./outbound-errors.ts";
import type { Target } from "./outbound-resolve.ts";

/** How long a part may take, in milliseconds. */
export interface OutboundTimeouts {
  /** Until there is a connection: place among others, look-up, TCP, proxy, TLS. */
  readonly connectMs: number;
  /** From the end of the request to the answer's headers. */
  readonly headersMs: number;
  /** Without a byte, either way. */
  readonly idleMs: number;
  /** Everything, to the last byte of the answer. Infinity where the caller's signal ends it. */
  readonly wholeMs: number;
}

/** What is sent. */
export interface ExchangeRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array | AsyncIterable<Uint8Array> | undefined;
  readonly maxAnswerBytes: number;
  readonly timeouts: OutboundTimeouts;
  /** Ends it at any time, the body included. */
  readonly signal: AbortSignal;
  /** Authorities that are believed, PEM; undefined: those of Node.js. */
  readonly ca: readonly string[] | undefined;
}

/** An answer whose body has not been read: read it, or discard it. Either may be done once. */
export interface ExchangeAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The body, read as fast as it is taken. Leaving the loop gives the connection up. Errors: `OutboundError` TOO_LARGE, TIMEOUT, BROKEN, ABORTED. */
  readonly body: AsyncIterable<Buffer>;
  /** Gives the connection up, where the body has not ended. */
  discard(): void;
}

/** Connections are only made to the addresses that were checked: nobody looks a name up again. */
function pinned(target: Target): LookupFunction {
  const all = target.addresses.map((address) => ({ address, family: isIPv6(address) ? 6 : 4 }));
  return (_, { all: wantsAll }, done) => {
    if (wantsAll === true) done(null, all);
    else done(null, all[0]!.address, all[0]!.family);
  };
}

/** Time for one address while there are others: as much as a connection around the world takes. */
const NEXT_ADDRESS_MS = 1000;

/** What `node:http` hands on to the agent, whose connections through a proxy need the target (outbound-proxy.ts). */
export interface TargetOptions {
  readonly target: Target;
}

/** Sends a request and waits for the answer's headers. Errors: `OutboundError`; what the body itself throws. */
export async function exchange(target: Target, agent: Agent, sent: ExchangeRequest): Promise<ExchangeAnswer> {
  const { timeouts, signal } = sent;
  if (signal.aborted) throw aborted(target);
  const options: RequestOptions & TargetOptions & Pick<TcpSocketConnectOpts, "autoSelectFamily" | "autoSelectFamilyAttemptTimeout"> = {
    ...urlToHttpOptions(target.url),
    method: sent.method,
    headers: sent.headers,
    agent,
    lookup: pinned(target),
    autoSelectFamily: true,
    autoSelectFamilyAttemptTimeout: NEXT_ADDRESS_MS,
    ...(sent.ca === undefined ? {} : { ca: [...sent.ca] }),
    target,
  };
  let message: ClientRequest;
  try {
    message = (target.url.protocol === "https:" ? httpsRequest : httpRequest)(options);
  } catch {
    // A header or method that cannot be written; its words would hold the value.
    throw new OutboundError("ADDRESS", `the request to ${target.place} holds what no request may hold`);
  }
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  let answer: IncomingMessage | undefined;
  const end = (error: OutboundError): void => {
    reject(error);
    // Whoever reads the body gets this error, and not that of a connection that was reset.
    (answer ?? message).destroy(error);
  };
  const timers = createTimers((what) => end(new OutboundError("TIMEOUT", `${target.place} ${what}`)));
  const onAbort = (): void => end(aborted(target));
  const release = (): void => {
    timers.clear();
    signal.removeEventListener("abort", onAbort);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  timers.whole(timeouts.wholeMs);
  timers.phase(timeouts.connectMs, "did not take a connection in time");
  message.setTimeout(timeouts.idleMs, () => end(new OutboundError("TIMEOUT", `${target.place} took nothing for too long`)));
  message.once("socket", (socket) => {
    if (message.reusedSocket) timers.phase(undefined);
    else socket.once(target.url.protocol === "https:" ? "secureConnect" : "connect", () => timers.phase(undefined));
  });
  message.once("finish", () => {
    if (answer === undefined) timers.phase(timeouts.headersMs, "did not answer in time");
  });
  message.once("response", (found) => {
    answer = found;
    resolve(found);
  });
  message.on("error", (error) => reject(describeFailure(error, target.place)));
  message.once("close", () => reject(new OutboundError("BROKEN", `${target.place} ended the connection without an answer`)));
  let failed: { readonly error: unknown } | undefined;
  try {
    const source = { onError: (error: unknown) => void (failed ??= { error }) };
    send(message, sent.body, source).catch((error: unknown) => reject(describeFailure(error, target.place)));
    const found = await promise;
    message.setTimeout(0);
    timers.phase(timeouts.idleMs, "stopped in the middle of its answer");
    return readAnswer(target, found, sent, { timers, release });
  } catch (error) {
    release();
    message.destroy();
    if (failed !== undefined) throw failed.error;
    const isStale = message.reusedSocket && error instanceof OutboundError && error.code === "BROKEN";
    throw isStale ? new StaleConnection(error) : error;
  }
}

/** A kept connection that its other end had closed: nothing is known against the place. */
export class StaleConnection extends Error {
  readonly error: OutboundError;

  constructor(error: OutboundError) {
    super(error.message);
    this.error = error;
  }
}

interface Running {
  readonly timers: Timers;
  /** Nothing ends the exchange any more. */
  release(): void;
}

/** Has a limit of its own for what says its length. */
function readAnswer(target: Target, answer: IncomingMessage, sent: ExchangeRequest, { timers, release }: Running): ExchangeAnswer {
  const { headers, statusCode: status = 0 } = answer;
  const { maxAnswerBytes, timeouts, method } = sent;
  const isEmpty = method === "HEAD" || status === 204 || status === 304 || headers["content-length"] === "0";
  const discard = (): void => {
    release();
    // An answer without a body ends by itself, and its connection is kept.
    if (isEmpty) answer.resume();
    else answer.destroy();
  };
  const tooLarge = (): OutboundError =>
    new OutboundError("TOO_LARGE", `the answer of ${target.place} is larger than ${maxAnswerBytes} bytes`);
  if (!isEmpty && Number(headers["content-length"] ?? 0) > maxAnswerBytes) {
    discard();
    throw tooLarge();
  }
  // It may fail before anybody reads it; who reads it hears of that.
  answer.on("error", () => undefined);
  async function* read(): AsyncGenerator<Buffer, void, undefined> {
    let size = 0;
    try {
      const pieces = answer.iterator({ destroyOnReturn: true });
      for (;;) {
        // Only while the other end is waited for: a reader may take his time.
        timers.phase(timeouts.idleMs, "stopped in the middle of its answer");
        const piece = (await pieces.next()) as IteratorResult<Buffer, undefined>;
        timers.phase(undefined);
        if (piece.done === true) break;
        size += piece.value.length;
        if (size > maxAnswerBytes) throw tooLarge();
        yield piece.value;
      }
      if (!answer.complete) throw new OutboundError("BROKEN", `${target.place} ended its answer too early`);
    } catch (error) {
      throw describeFailure(error, target.place);
    } finally {
      release();
      if (!answer.complete) answer.destroy();
    }
  }
  return { status, headers, body: read(), discard };
}

function aborted({ place }: Target): OutboundError {
  return new OutboundError("ABORTED", `the request to ${place} was given up`);
}

/** `onError` hears what the body itself throws. */
async function send(message: ClientRequest, body: ExchangeRequest["body"], source: { onError(error: unknown): void }): Promise<void> {
  if (body === undefined || typeof body === "string" || body instanceof Uint8Array) {
    message.end(body);
    return;
  }
  async function* pieces(from: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    try {
      yield* from;
    } catch (error) {
      source.onError(error);
      throw error;
    }
  }
  await pipeline(Readable.from(pieces(body), { objectMode: false }), message);
}

interface Timers {
  whole(ms: number): void;
  /** Replaces the timer of the present part; undefined: none runs. */
  phase(ms: number | undefined, what?: string): void;
  clear(): void;
}

function createTimers(onTimeout: (what: string) => void): Timers {
  let whole: NodeJS.Timeout | undefined;
  let phase: NodeJS.Timeout | undefined;
  return {
    whole(ms) {
      if (Number.isFinite(ms)) whole = setTimeout(onTimeout, ms, "took too long as a whole");
    },
    phase(ms, what = "") {
      clearTimeout(phase);
      phase = ms === undefined ? undefined : setTimeout(() => onTimeout(what), ms);
    },
    clear() {
      clearTimeout(whole);
      clearTimeout(phase);
    },
  };
}
