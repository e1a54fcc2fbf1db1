// A typed client of the control plane: one function for all operations, whose types flow from them; pages and streams as async iterables.
// Not here: the operations (@berth/api), where credentials come from.
import { type Answer, addressOf, API_PREFIX, type Operation, STREAM_TYPES } from "@berth/api/operation";
import type { CallArguments, CallOptions, CommonOptions, ItemOf, PlainOperation, Reply, StreamOperation } from "./call-types.ts";
import { CallError, ConnectionError, connectionErrorOf } from "./errors.ts";
import { readCallError, readEvents, readLines, readRecords } from "./read-answer.ts";

/** Who calls: a user or a robot, by HTTP Basic. */
export interface Credentials {
  readonly name: string;
  readonly secret: string;
}

/** What a client is made of. */
export interface ClientOptions {
  /** Of the registry, for example `https://registry.example.com`. */
  readonly origin: string;
  /** Undefined: nobody. */
  readonly credentials?: Credentials | undefined;
  /** How long an answer may take, and a stream may be silent. 30 s, which is above what the registry takes for any. */
  readonly timeoutMs?: number;
  readonly userAgent?: string;
  /** In place of the global one. */
  readonly fetch?: typeof fetch;
}

/** What following events may have besides. */
export interface EventOptions<T> {
  /** Go on after this event. */
  readonly lastEventId?: string;
  /** Whether an item is the last: a stream that ends before is taken up again. Undefined: it ends where the registry ends it. */
  readonly isLast?: (item: T) => boolean;
}

/** A request of any address below `/api/v1`. */
export interface RawRequest extends CommonOptions {
  readonly method: string;
  /** With its leading slash, below `/api/v1`. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
}

/** The client. Errors of all: `CallError`, `ConnectionError`. */
export interface Client {
  readonly origin: string;
  call<O extends PlainOperation>(operation: O, ...options: CallArguments<CallOptions<O>>): Promise<Answer<O>>;
  /** The same with the answer's headers. */
  request<O extends PlainOperation>(operation: O, ...options: CallArguments<CallOptions<O>>): Promise<Reply<O>>;
  /** The answers of a list, page by page; `query.limit` is the size of a page. */
  pages<O extends PlainOperation>(operation: O, ...options: CallArguments<CallOptions<O>>): AsyncIterable<Answer<O>>;
  /** The items of all pages. */
  items<O extends PlainOperation>(operation: O, ...options: CallArguments<CallOptions<O>>): AsyncIterable<ItemOf<O>>;
  /** The items of a stream. Events are taken up again where a connection was lost. */
  stream<O extends StreamOperation>(
    operation: O,
    ...options: CallArguments<CallOptions<O> & EventOptions<ItemOf<O>>>
  ): AsyncIterable<ItemOf<O>>;
  /** The answer to any request; one that is an error is thrown. */
  raw(request: RawRequest): Promise<Response>;
}

const DEFAULT_TIMEOUT_MS = 30_000;
/** Streams have a heartbeat every 15 s: one that is silent for three of them is lost. */
const SILENCE_MS = 45_000;
/** Waits before a lost stream is taken up again; then the connection counts as lost for good. */
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

/** Makes a client. */
export function createClient(options: ClientOptions): Client {
  const { credentials, timeoutMs = DEFAULT_TIMEOUT_MS, userAgent = "berth-api-client", fetch: send = globalThis.fetch } = options;
  const { origin } = new URL(options.origin);
  const authorization: Record<string, string> =
    credentials === undefined ? {} : { authorization: `Basic ${encodeBasic(`${credentials.name}:${credentials.secret}`)}` };

  /** Sends, and gives the answer where it is a good one. */
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
    // A redirect would take the credentials along, or lose them: the address of the registry is what it was said to be.
    const response = await send(new URL(path, origin), { ...init, redirect: "manual" });
    if (!response.ok) throw await readCallError(response, origin);
    return response;
  }

  /** Does something within the time limit. Errors come as the two kinds. */
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

  /** The lines of an answer that may go on for ever, but not in silence. */
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
      // Who stops reading early leaves no connection behind.
      silence.abort();
    }
  }

  async function* events(operation: Operation, given: AnyOptions & EventOptions<unknown>): AsyncGenerator<unknown, void, void> {
    let { lastEventId } = given;
    // What was never there is not waited for.
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
        // All of it within the time limit, and its failures as ours.
        const bytes = await response.arrayBuffer();
        return new Response(bytes.byteLength === 0 ? null : bytes, { status: response.status, headers: response.headers });
      }),
  };
  // What goes in and out is typed by the operation, which TypeScript cannot follow through its fields.
  return client as unknown as Client;
}

interface Page {
  readonly items: readonly unknown[];
  readonly next: string | null;
}

/** What may be over by itself: a connection that was lost, a replica that stops. */
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

/** In UTF-8, and with what browsers have too. Source: RFC 7617, section 2.1. */
function encodeBasic(text: string): string {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCodePoint(byte)).join(""));
}
