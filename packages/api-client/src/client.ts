// A typed client of the control plane: one function for all operations, whose types come from them; pages and streams as async iterables.
// Not here: the operations (@berth/api), the source of credentials.
import { type Answer, addressOf, API_PREFIX, type Operation, STREAM_TYPES } from "@berth/api/operation";
import type { CallArguments, CallOptions, CommonOptions, ItemOf, PlainOperation, Reply, StreamOperation } from "./call-types.ts";
import { CallError, ConnectionError, connectionErrorOf } from "./errors.ts";
import { readCallError, readEvents, readLines, readRecords } from "./read-answer.ts";

/** The caller: a user or a robot, by HTTP Basic. */
export interface Credentials {
  /** Undefined: the secret is a personal token, which says whose it is. */
  readonly name?: string | undefined;
  readonly secret: string;
}

/** The options of a client. */
export interface ClientOptions {
  /** Of the registry, for example `https://registry.example.com`. */
  readonly origin: string;
  /** Undefined: anonymous. */
  readonly credentials?: Credentials | undefined;
  /** How long an answer may take, and a stream may be silent. The default of 30 s is more than the registry takes for any answer. */
  readonly timeoutMs?: number;
  readonly userAgent?: string;
  /** Replaces the global `fetch`. */
  readonly fetch?: typeof fetch;
}

/** Further options for following events. */
export interface EventOptions<T> {
  /** Continues after this event. */
  readonly lastEventId?: string;
  /** Whether an item is the last: a stream that ends earlier is resumed. Undefined: it ends where the registry ends it. */
  readonly isLast?: (item: T) => boolean;
}

/** A request to any address below `/api/v1`. */
export interface RawRequest extends CommonOptions {
  readonly method: string;
  /** With its leading slash, below `/api/v1`. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
}

/** The client. Errors of all methods: `CallError`, `ConnectionError`. */
export interface Client {
  readonly origin: string;
  call<O extends PlainOperation>(operation: O, ...options: CallArguments<CallOptions<O>>): Promise<Answer<O>>;
  /** The same with the answer's headers. */
  request<O extends PlainOperation>(operation: O, ...options: CallArguments<CallOptions<O>>): Promise<Reply<O>>;
  /** The answers of a list, page by page; `query.limit` is the size of a page. */
  pages<O extends PlainOperation>(operation: O, ...options: CallArguments<CallOptions<O>>): AsyncIterable<Answer<O>>;
  /** The items of all pages. */
  items<O extends PlainOperation>(operation: O, ...options: CallArguments<CallOptions<O>>): AsyncIterable<ItemOf<O>>;
  /** The items of a stream. Events are resumed after a lost connection. */
  stream<O extends StreamOperation>(
    operation: O,
    ...options: CallArguments<CallOptions<O> & EventOptions<ItemOf<O>>>
  ): AsyncIterable<ItemOf<O>>;
  /** The answer to any request; an error answer is thrown. */
  raw(request: RawRequest): Promise<Response>;
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** Streams have a heartbeat every 15 s: one that is silent for three of them counts as lost. */
const SILENCE_MS = 45_000;
/** The waits before a lost stream is resumed; after the last one the connection counts as lost for good. */
const RESUME_AFTER_MS = [200, 1000, 2000, 5000, 10_000, 10_000] as const;

interface AnyOptions extends CommonOptions {
  readonly params?: object;
  readonly query?: object;
  readonly body?: unknown;
}

interface SendOptions extends AnyOptions {
  readonly accept?: string;
  readonly lastEventId?: string | undefined;
}

function authorizationOf({ name, secret }: Credentials): string {
  return name === undefined ? `Bearer ${secret}` : `Basic ${encodeBasic(`${name}:${secret}`)}`;
}

/** Creates a client. */
export function createClient(options: ClientOptions): Client {
  const { credentials, timeoutMs = DEFAULT_TIMEOUT_MS, userAgent = "berth-api-client", fetch: send = globalThis.fetch } = options;
  const { origin } = new URL(options.origin);
  const authorization: Record<string, string> = credentials === undefined ? {} : { authorization: authorizationOf(credentials) };

  /** Sends a request, and returns the answer unless it is an error. */
  async function sendTo(method: string, path: string, { body, ifMatch, signal, accept, lastEventId }: SendOptions): Promise<Response> {
    const headers = {
      accept: accept ?? "application/json",
      "user-agent": userAgent,
      ...authorization,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...(ifMatch === undefined ? {} : { "if-match": ifMatch }),
      ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
    };
    const init = { method, headers, signal: signal ?? null, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    // A redirect would forward the credentials, or lose them: the given address of the registry is final.
    const response = await send(new URL(path, origin), { ...init, redirect: "manual" });
    if (!response.ok) throw await readCallError(response, origin);
    return response;
  }

  /** Does some work within the time limit. Failures become one of the two kinds of errors. */
  async function within<T>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const limit = AbortSignal.timeout(timeoutMs);
    try {
      return await work(signal === undefined ? limit : AbortSignal.any([signal, limit]));
    } catch (error) {
      throw connectionErrorOf(error, origin, signal);
    }
  }

  const pathOf = (operation: Operation, { params = {}, query = {} }: AnyOptions): string =>
    addressOf(operation, params as Readonly<Record<string, string>>) + queryOf(query);

  async function request(operation: Operation, given: AnyOptions = {}): Promise<Reply<Operation>> {
    return within(given.signal, async (signal) => {
      const response = await sendTo(operation.method, pathOf(operation, given), { ...given, signal });
      const text = await response.text();
      return {
        answer: (text === "" ? undefined : parseAnswer(text, origin)) as Answer<Operation>,
        status: response.status,
        etag: response.headers.get("etag") ?? undefined,
        location: response.headers.get("location") ?? undefined,
        requestId: response.headers.get("x-request-id") ?? undefined,
      };
    });
  }

  async function* pages(operation: Operation, given: AnyOptions = {}): AsyncGenerator<Page, void, void> {
    let after: string | null | undefined;
    do {
      const query = after === undefined ? given.query : { ...given.query, after };
      const { answer } = await request(operation, { ...given, ...(query && { query }) });
      const page = answer as unknown as Page;
      yield page;
      after = page.next;
    } while (after !== null);
  }

  async function* items(operation: Operation, given: AnyOptions = {}): AsyncGenerator<unknown, void, void> {
    for await (const page of pages(operation, given)) yield* page.items;
  }

  /** The lines of an answer that may last for ever, but must not be silent for long. */
  async function* linesOf(operation: Operation, given: SendOptions): AsyncGenerator<string, void, void> {
    const silence = new AbortController();
    const signals = given.signal === undefined ? [silence.signal] : [silence.signal, given.signal];
    const silent = (): void => silence.abort(new DOMException("the stream is silent", "TimeoutError"));
    let timer = setTimeout(silent, timeoutMs);
    try {
      const response = await sendTo(operation.method, pathOf(operation, given), { ...given, signal: AbortSignal.any(signals) });
      const pieces = async function* (): AsyncGenerator<Uint8Array, void, void> {
        for await (const piece of response.body ?? []) {
          clearTimeout(timer);
          timer = setTimeout(silent, Math.max(timeoutMs, SILENCE_MS));
          yield piece;
        }
      };
      yield* readLines(pieces());
    } catch (error) {
      throw connectionErrorOf(error, origin, given.signal);
    } finally {
      clearTimeout(timer);
      // A reader that stops early leaves no connection behind.
      silence.abort();
    }
  }

  async function* events(operation: Operation, given: AnyOptions & EventOptions<unknown>): AsyncGenerator<unknown, void, void> {
    let { lastEventId } = given;
    // A connection that never worked is not retried.
    let failures: number = RESUME_AFTER_MS.length;
    for (;;) {
      try {
        for await (const event of readEvents(linesOf(operation, { ...given, accept: STREAM_TYPES.events[0], lastEventId }))) {
          failures = 0;
          lastEventId = event.id ?? lastEventId;
          yield event.data;
          if (given.isLast?.(event.data) === true) return;
        }
        if (given.isLast === undefined) return;
        throw new ConnectionError("unreachable", `${origin} ended the stream before its last event`);
      } catch (error) {
        const wait = RESUME_AFTER_MS[failures];
        if (wait === undefined || !canResume(error)) throw error;
        failures++;
        await sleep(wait, given.signal);
      }
    }
  }

  function stream(operation: Operation, given: AnyOptions & EventOptions<unknown> = {}): AsyncGenerator<unknown, void, void> {
    if (operation.stream === "events") return events(operation, given);
    return readRecords(linesOf(operation, { ...given, accept: STREAM_TYPES.records[0] }));
  }

  const client = {
    origin,
    call: async (operation: Operation, given: AnyOptions = {}) => (await request(operation, given)).answer,
    request,
    pages,
    items,
    stream,
    raw: ({ method, path, ...given }: RawRequest) =>
      within(given.signal, async (signal) => {
        const response = await sendTo(method, `${API_PREFIX}${path}`, { ...given, signal, accept: "*/*" });
        // All of it is read within the time limit, and its failures become ours.
        const bytes = await response.arrayBuffer();
        return new Response(bytes.byteLength === 0 ? null : bytes, { status: response.status, headers: response.headers });
      }),
  };
  // The operation determines the types of input and output, which TypeScript cannot follow through its fields.
  return client as unknown as Client;
}

interface Page {
  readonly items: readonly unknown[];
  readonly next: string | null;
}

/** Whether the failure may pass by itself: a lost connection, or a replica that stops. */
function canResume(error: unknown): boolean {
  if (error instanceof CallError) return error.status === 429 || error.status === 503;
  return error instanceof ConnectionError && (error.problem === "unreachable" || error.problem === "timeout");
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", end);
      resolve();
    }, ms);
    if (signal?.aborted === true) end();
    else signal?.addEventListener("abort", end, { once: true });
  });
}

function queryOf(query: object): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  return given.length === 0 ? "" : `?${new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString()}`;
}

function parseAnswer(text: string, origin: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new ConnectionError("not-berth", `${origin} answered with something that is no JSON`, { cause: error });
  }
}

/** In UTF-8, including characters that browsers accept. Source: RFC 7617, section 2.1. */
function encodeBasic(text: string): string {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCodePoint(byte)).join(""));
}
