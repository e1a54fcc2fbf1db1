// Traces by OpenTelemetry's SDK, sent to a collector by OTLP over HTTP in the background. Loaded only if tracing.endpoint is set. A
// collector that is slow or down costs spans and nothing else: the queue is bounded, and no request waits for it. Not here: what becomes a
// span (tracing.ts, database/observed-database.ts, the request's path).
import { AsyncLocalStorage } from "node:async_hooks";
import {
  type Attributes,
  type Context,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  SpanKind as OtelKind,
  SpanStatusCode,
  trace,
  TraceFlags,
} from "@opentelemetry/api";
import { ExportResultCode, W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  type ReadableSpan,
  type SpanExporter,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { RegistryError } from "@berth/oci/errors";
import type { RequestSpan, SpanAttributes, SpanKind, TracedRequest, TraceScope, Tracing } from "./tracing.ts";

/** The destination of traces, and which are recorded. */
export interface TracingOptions {
  /** The collector's base address; spans go to `v1/traces` below it. */
  readonly endpoint: string;
  /** `name=value,name2=value2`, values percent-encoded. Source: OpenTelemetry's OTEL_EXPORTER_OTLP_HEADERS. */
  readonly headers: string | undefined;
  readonly sampleRatio: number;
  readonly serviceName: string;
  readonly version: string;
  /** Called when a batch was not accepted, once a minute at most. */
  readonly onFailure: (error: unknown) => void;
}

/** The most spans that wait for the collector: some 5 MB, and a second of a busy registry that records every request. */
const MAX_QUEUE = 8192;
const MAX_BATCH = 512;
/** How long finished spans are collected, so that a quiet registry sends one batch and not twenty. */
const BATCH_MS = 2000;
/** A batch that is not accepted within this time, retries included, is dropped, because the next one waits for it. */
const EXPORT_TIMEOUT_MS = 5000;
/** How long a stop waits for the last spans. */
const CLOSE_MS = 2000;
/**
 * The most spans of one trace from one process: a request makes about ten, and a large garbage collection must not fill the queue alone.
 */
const MAX_SPANS_A_TRACE = 500;
/** The longest text in a span. A digest, a path and a user agent fit; a hostile header is cut. */
const MAX_TEXT = 512;
const WARN_EVERY_MS = 60_000;

interface Scope extends TraceScope {
  readonly span: Span;
  readonly context: Context;
  /** Shared by all spans of the trace in this process. */
  readonly used: { spans: number };
}

const KINDS: Readonly<Record<SpanKind, OtelKind>> = { client: OtelKind.CLIENT, internal: OtelKind.INTERNAL };

/** Starts tracing without connecting: the first batch contacts the collector. */
export function openTracing(options: TracingOptions): Tracing {
  const scopes = new AsyncLocalStorage<Scope | undefined>();
  const propagator = new W3CTraceContextPropagator();
  const sent = countingExporter(options);
  let kept = 0;
  const batches = new BatchSpanProcessor({
    exporter: sent.exporter,
    maxQueueSize: MAX_QUEUE,
    maxExportBatchSize: MAX_BATCH,
    scheduledDelayMillis: BATCH_MS,
    exportTimeoutMillis: EXPORT_TIMEOUT_MS + 1000,
  });
  const provider = new TracerProvider({
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(options.sampleRatio) }),
    spanLimits: { attributeCountLimit: 32, attributeValueLengthLimit: MAX_TEXT, eventCountLimit: 4, linkCountLimit: 4 },
    resource: defaultResource()
      .merge(detectResources({ detectors: [envDetector] }))
      .merge(resourceFromAttributes({ "service.name": options.serviceName, "service.version": options.version })),
    spanProcessors: [
      {
        onStart: () => undefined,
        onEnd: (span) => {
          if ((span.spanContext().traceFlags & TraceFlags.SAMPLED) !== 0) kept++;
        },
        forceFlush: async () => undefined,
        shutdown: async () => undefined,
      },
      batches,
    ],
  });
  const tracer = provider.getTracer("berth", options.version);

  function start(name: string, kind: OtelKind, attributes: Attributes, parent: Context, used: Scope["used"]): Scope {
    const span = tracer.startSpan(name, { kind, attributes }, parent);
    return {
      span,
      used,
      context: trace.setSpan(parent, span),
      isRecording: span.isRecording(),
      setAttributes: (more) => void span.setAttributes(clean(more)),
    };
  }

  async function finish<T>(scope: Scope, work: () => Promise<T>): Promise<T> {
    try {
      return await scopes.run(scope, work);
    } catch (error) {
      fail(scope.span, error);
      throw error;
    } finally {
      scope.span.end();
    }
  }

  function span<T>(name: string, kind: SpanKind, attributes: SpanAttributes, work: () => Promise<T>): Promise<T> {
    const parent = scopes.getStore();
    if (parent === undefined || !parent.isRecording || parent.used.spans >= MAX_SPANS_A_TRACE) return work();
    parent.used.spans++;
    return finish(start(name, KINDS[kind], clean(attributes), parent.context, parent.used), work);
  }

  function begin(name: string, kind: SpanKind, attributes: SpanAttributes): (error?: unknown) => void {
    const parent = scopes.getStore();
    if (parent === undefined || !parent.isRecording || parent.used.spans >= MAX_SPANS_A_TRACE) return () => undefined;
    parent.used.spans++;
    const { span: open } = start(name, KINDS[kind], clean(attributes), parent.context, parent.used);
    return (error) => {
      if (error !== undefined) fail(open, error);
      open.end();
    };
  }

  async function request(traced: TracedRequest, work: (span: RequestSpan) => Promise<void>): Promise<void> {
    const { request: message, response } = traced;
    const { headers } = message;
    const parent = propagator.extract(ROOT_CONTEXT, headers, {
      get: (carrier, key) => (carrier as typeof headers)[key],
      keys: () => ["traceparent", "tracestate"],
    });
    const method = message.method ?? "GET";
    const scope = start(method, OtelKind.SERVER, requestAttributes(traced), parent, { spans: 1 });
    await finish(scope, () =>
      work({
        describe: (route, attributes) => {
          scope.span.updateName(`${method} ${route}`);
          scope.span.setAttributes(clean({ "http.route": route, ...attributes }));
        },
      }).finally(() => {
        // A client that left got no status, or only a part of the answer.
        if (response.headersSent) scope.span.setAttribute("http.response.status_code", response.statusCode);
        if (!response.writableEnded) scope.span.setAttribute("error.type", "client_left");
        else if (response.statusCode >= 500) {
          scope.span.setAttribute("error.type", String(response.statusCode));
          scope.span.setStatus({ code: SpanStatusCode.ERROR });
        }
      }),
    );
  }

  return {
    request,
    span,
    begin,
    job(name, work) {
      const parent = scopes.getStore();
      if (parent !== undefined) return span(name, "internal", {}, work);
      return finish(start(name, OtelKind.INTERNAL, {}, ROOT_CONTEXT, { spans: 1 }), work);
    },
    scope: () => scopes.getStore(),
    within: (scope, work) => scopes.run(scope as Scope | undefined, work),
    logFields() {
      const context = scopes.getStore()?.span.spanContext();
      if (context === undefined || !isSpanContextValid(context)) return {};
      // Source: OpenTelemetry specification, Trace Context in non-OTLP Log Formats.
      return { trace_id: context.traceId, span_id: context.spanId, trace_flags: (context.traceFlags & 0xff).toString(16).padStart(2, "0") };
    },
    counts: () => ({ kept, ...sent.counts() }),
    async close() {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, CLOSE_MS);
      // If the collector is down now, the last spans fail, which `onFailure` has already reported.
      void provider.shutdown().then(resolve, () => resolve());
      await promise;
      clearTimeout(timer);
    },
  };
}

/** Counts what the collector accepts, and reports now and then that it does not. */
function countingExporter(options: TracingOptions) {
  const inner = new OTLPTraceExporter({
    url: new URL("v1/traces", options.endpoint.endsWith("/") ? options.endpoint : `${options.endpoint}/`).href,
    timeoutMillis: EXPORT_TIMEOUT_MS,
    // One batch at a time; at the end the whole queue.
    concurrencyLimit: 1 + MAX_QUEUE / MAX_BATCH,
    ...(options.headers === undefined ? {} : { headers: parseHeaders(options.headers) }),
  });
  let taken = 0;
  let failed = 0;
  let warnedAt = -WARN_EVERY_MS;
  const exporter: SpanExporter = {
    export(spans: ReadableSpan[], done) {
      inner.export(spans, (result) => {
        if (result.code === ExportResultCode.SUCCESS) taken += spans.length;
        else {
          failed += spans.length;
          if (performance.now() - warnedAt >= WARN_EVERY_MS) {
            warnedAt = performance.now();
            options.onFailure(result.error);
          }
        }
        done(result);
      });
    },
    shutdown: () => inner.shutdown(),
    forceFlush: () => inner.forceFlush(),
  };
  return { exporter, counts: () => ({ sent: taken, failed }) };
}

/** Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/. The query is left out: clients put credentials into it. */
function requestAttributes({ request: message, id, remoteAddress, scheme }: TracedRequest): Attributes {
  const url = message.url ?? "/";
  const mark = url.indexOf("?");
  return clean({
    "http.request.method": message.method ?? "GET",
    "url.path": mark === -1 ? url : url.slice(0, mark),
    "url.scheme": scheme,
    "client.address": remoteAddress,
    "user_agent.original": message.headers["user-agent"],
    "network.protocol.version": message.httpVersion,
    "berth.request_id": id,
  });
}

function clean(attributes: SpanAttributes): Attributes {
  return Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== undefined)) as Attributes;
}

/** Only the kind of the error: messages of drivers and SDKs may hold private data. */
function fail(span: Span, error: unknown): void {
  const isOurs = error instanceof RegistryError;
  span.setAttribute("error.type", isOurs ? error.code : error instanceof Error ? error.name : "unknown");
  // Refusing a client is correct work, not a failure.
  if (!isOurs || error.status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
}

function parseHeaders(text: string): Record<string, string> {
  return Object.fromEntries(
    text.split(",").flatMap((part) => {
      const equals = part.indexOf("=");
      return equals < 1 ? [] : [[part.slice(0, equals).trim(), decodeURIComponent(part.slice(equals + 1).trim())]];
    }),
  );
}
