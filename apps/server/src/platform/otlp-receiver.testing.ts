// A collector for tests: receives OTLP over HTTP and reads the protobuf form by the field numbers of opentelemetry-proto (trace.proto,
// common.proto). Not here: assertions on the spans.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gunzipSync } from "node:zlib";

/** A received span. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string;
  readonly name: string;
  /** 1 internal, 2 server, 3 client. */
  readonly kind: number;
  readonly attributes: Readonly<Record<string, string | number | boolean>>;
  readonly resource: Readonly<Record<string, string | number | boolean>>;
  /** 0 unset, 1 ok, 2 error. */
  readonly status: number;
  readonly durationNs: bigint;
}

/** A listening collector. */
export interface OtlpReceiver {
  readonly endpoint: string;
  readonly spans: readonly ReceivedSpan[];
  /** Paths and headers of the received requests. */
  readonly requests: readonly { readonly path: string; readonly headers: IncomingMessage["headers"] }[];
  /** All received bytes, as text: to search for what must not be in them. */
  text(): string;
  /** Resolves when a matching span arrives or has arrived. */
  received(fits: (span: ReceivedSpan) => boolean): Promise<ReceivedSpan>;
  stop(): Promise<void>;
}

/** Starts a collector on a free port. `before` may delay a request, or answer it itself. */
export async function startOtlpReceiver(before?: (response: ServerResponse) => Promise<void>): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const bodies: Buffer[] = [];
  const requests: { path: string; headers: IncomingMessage["headers"] }[] = [];
  const waiting = new Set<() => void>();
  const server = createServer((request, response) => {
    void (async () => {
      requests.push({ path: request.url ?? "", headers: request.headers });
      const pieces: Buffer[] = [];
      for await (const piece of request) pieces.push(piece as Buffer);
      const raw = Buffer.concat(pieces);
      const body = request.headers["content-encoding"] === "gzip" ? gunzipSync(raw) : raw;
      await before?.(response);
      if (response.writableEnded) return;
      bodies.push(body);
      spans.push(...readTraces(body));
      response.writeHead(200, { "content-type": "application/x-protobuf" }).end();
      for (const wake of waiting) wake();
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    requests,
    text: () => Buffer.concat(bodies).toString("latin1"),
    async received(fits) {
      for (;;) {
        const found = spans.find(fits);
        if (found !== undefined) return found;
        await new Promise<void>((resolve) => {
          const wake = (): void => {
            waiting.delete(wake);
            resolve();
          };
          waiting.add(wake);
        });
      }
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

type Field = readonly [number: number, value: bigint | Buffer];

/** The fields of one message. Source: https://protobuf.dev/programming-guides/encoding/. */
function readFields(bytes: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = Number(tag >> 3n);
    const type = Number(tag & 7n);
    if (type === 0) fields.push([number, varint()]);
    else if (type === 1) fields.push([number, bytes.readBigUInt64LE((at += 8) - 8)]);
    else if (type === 5) fields.push([number, BigInt(bytes.readUInt32LE((at += 4) - 4))]);
    else {
      const length = Number(varint());
      fields.push([number, bytes.subarray(at, (at += length))]);
    }
  }
  return fields;
}

const all = (fields: readonly Field[], number: number): Buffer[] =>
  fields.filter(([n]) => n === number).map(([, value]) => value as Buffer);
const first = (fields: readonly Field[], number: number): Buffer => all(fields, number)[0] ?? Buffer.alloc(0);
const whole = (fields: readonly Field[], number: number): bigint => (fields.find(([n]) => n === number)?.[1] as bigint) ?? 0n;

function readAttributes(pairs: readonly Buffer[]): Record<string, string | number | boolean> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const fields = readFields(pair);
      const [number, value] = readFields(first(fields, 2))[0] ?? [0, Buffer.alloc(0)];
      const read = number === 1 ? value.toString() : number === 2 ? value === 1n : Number(value);
      return [first(fields, 1).toString(), read];
    }),
  );
}

function readTraces(body: Buffer): ReceivedSpan[] {
  return all(readFields(body), 1).flatMap((resourceSpans) => {
    const fields = readFields(resourceSpans);
    const resource = readAttributes(all(readFields(first(fields, 1)), 1));
    return all(fields, 2).flatMap((scopeSpans) =>
      all(readFields(scopeSpans), 2).map((bytes): ReceivedSpan => {
        const span = readFields(bytes);
        return {
          traceId: first(span, 1).toString("hex"),
          spanId: first(span, 2).toString("hex"),
          parentSpanId: first(span, 4).toString("hex"),
          name: first(span, 5).toString(),
          kind: Number(whole(span, 6)),
          attributes: readAttributes(all(span, 9)),
          resource,
          status: Number(whole(readFields(first(span, 15)), 3)),
          durationNs: whole(span, 8) - whole(span, 7),
        };
      }),
    );
  });
}
