// What the program says about its work when traces are configured: the words, and the bounds. Nothing here loads a package, so that a
// registry without traces pays nothing. Not here: who keeps and sends the spans (tracing-otlp.ts).
import type { IncomingMessage, ServerResponse } from "node:http";

/** What a span carries; names follow OpenTelemetry's semantic conventions where these have one. Never a secret, never a query string. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** How a piece of work is shown: a call to another system, or work of our own. */
export type SpanKind = "client" | "internal";

/** The span of one request, for those who learn on the way what it is. */
export interface RequestSpan {
  /** The route's pattern, such as `/v2/{repository}/tags/list`, which names the span; and what else is known by then. */
  describe(route: string, attributes: SpanAttributes): void;
}

/** What is known of a request when it comes. */
export interface TracedRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The id that the client gets as `x-request-id`. */
  readonly id: string;
  readonly remoteAddress: string;
  readonly scheme: string;
}

/** A place in a trace, to come back to. */
export interface TraceScope {
  /** Whether spans below it are kept. */
  readonly isRecording: boolean;
  /** Adds to the span that is open here. */
  setAttributes(attributes: SpanAttributes): void;
}

/** Traces of one process. */
export interface Tracing {
  /** Runs the answer to a request in a span of its own, which continues the client's trace where it sent one. */
  request(traced: TracedRequest, work: (span: RequestSpan) => Promise<void>): Promise<void>;
  /** Runs work of the background as a trace of its own; inside another trace, as a span of that one. */
  job<T>(name: string, work: () => Promise<T>): Promise<T>;
  /** Runs work in a span below the present one; without one, or when its trace is full or not kept, just runs it. */
  span<T>(name: string, kind: SpanKind, attributes: SpanAttributes, work: () => Promise<T>): Promise<T>;
  /** The same for work that is no single promise, such as a stream's: gives what ends the span, with the error where there was one. */
  begin(name: string, kind: SpanKind, attributes: SpanAttributes): (error?: unknown) => void;
  /** Where the caller is now; undefined outside every trace. */
  scope(): TraceScope | undefined;
  /** Runs work as if it had been called there. */
  within<T>(scope: TraceScope | undefined, work: () => T): T;
  /** `trace_id`, `span_id` and `trace_flags` of the present span for a line of the log; nothing outside every trace. */
  logFields(): Readonly<Record<string, string>>;
  /** Spans that were to be sent, that the collector took, and that it did not take. What is missing waits, or was dropped for a full queue. */
  counts(): { readonly kept: number; readonly sent: number; readonly failed: number };
  /** Sends what waits, for a moment; then what is left is lost. */
  close(): Promise<void>;
}
