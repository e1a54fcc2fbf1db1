// The interface of tracing: its names and bounds. It loads no package, so that a registry without traces pays nothing. Not here: recording
// and sending spans (tracing-otlp.ts).
import type { IncomingMessage, ServerResponse } from "node:http";

/**
 * The attributes of a span; names follow OpenTelemetry's semantic conventions where these have one. Never a secret, never a query string.
 */
export type SpanAttributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** The kind of a span: a call to another system, or work of our own. */
export type SpanKind = "client" | "internal";

/** The span of one request, for code that learns more about it on the way. */
export interface RequestSpan {
  /** Sets the route's pattern, such as `/v2/{repository}/tags/list`, which names the span, and other known attributes. */
  describe(route: string, attributes: SpanAttributes): void;
}

/** What is known about a request when it arrives. */
export interface TracedRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** The id that the client gets as `x-request-id`. */
  readonly id: string;
  readonly remoteAddress: string;
  readonly scheme: string;
}

/** A position in a trace, under which spans can be added later. */
export interface TraceScope {
  /** Whether spans below it are recorded. */
  readonly isRecording: boolean;
  /** Adds to the span that is open here. */
  setAttributes(attributes: SpanAttributes): void;
}

/** Traces of one process. */
export interface Tracing {
  /** Runs the answer to a request in a span of its own, which continues the client's trace if it sent one. */
  request(traced: TracedRequest, work: (span: RequestSpan) => Promise<void>): Promise<void>;
  /** Runs background work as a trace of its own; inside another trace, as a span of it. */
  job<T>(name: string, work: () => Promise<T>): Promise<T>;
  /** Runs work in a span below the present one. Without one, or when its trace is full or not recorded, it only runs the work. */
  span<T>(name: string, kind: SpanKind, attributes: SpanAttributes, work: () => Promise<T>): Promise<T>;
  /**
   * The same for work that is not a single promise, such as a stream: returns a function that ends the span, with the error if there was
   * one.
   */
  begin(name: string, kind: SpanKind, attributes: SpanAttributes): (error?: unknown) => void;
  /** The present position; undefined outside every trace. */
  scope(): TraceScope | undefined;
  /** Runs work as if it had been called at that position. */
  within<T>(scope: TraceScope | undefined, work: () => T): T;
  /** `trace_id`, `span_id` and `trace_flags` of the present span for a log line; nothing outside every trace. */
  logFields(): Readonly<Record<string, string>>;
  /** The numbers of recorded, accepted and refused spans. The difference is waiting, or was dropped because the queue was full. */
  counts(): { readonly kept: number; readonly sent: number; readonly failed: number };
  /** Sends waiting spans, for a moment; the rest is lost. */
  close(): Promise<void>;
}
