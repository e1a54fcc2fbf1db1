// Answers of many items, each sent when it is found and none kept: JSON Lines, CSV, server-sent events.
// Not here: the items (features/), writing no faster than the client reads (write-piece.ts).
import type { IncomingMessage, ServerResponse } from "node:http";
import { ApiError } from "@berth/api/errors";
import { STREAM_TYPES, type StreamKind } from "@berth/api/operation";
import type { TSchema } from "typebox";
import { type WriteRules, writePiece } from "../write-piece.ts";

/** What a stream is. */
export interface StreamAnswer {
  readonly kind: StreamKind;
  /** The schema of an item: its fields are the columns of CSV. */
  readonly item: TSchema;
  readonly items: AsyncIterable<unknown>;
  readonly status: number;
}

/** Pieces have about this size: a system call for each line would cost more than the line. */
const PIECE_BYTES = 16 * 1024;
/** Proxies close a connection that is silent for a minute; a comment is no event. */
const HEARTBEAT_MS = 15_000;
const HEARTBEAT = Buffer.from(": still here\n\n");
/** How long the first event is waited for before the answer begins without it. */
const FIRST_WAIT_MS = 500;

/** The media type for a request's Accept header. Errors: NOT_ACCEPTABLE. */
export function chooseStreamType(request: IncomingMessage, kind: StreamKind): string {
  const offered: readonly string[] = STREAM_TYPES[kind];
  const accepted = (request.headers.accept ?? "*/*").split(",").map(readRange);
  const qualityOf = (type: string): number => {
    // The most specific matching range decides. Source: RFC 9110, section 12.5.1.
    const fitting = [type, type.replace(/\/.*/, "/*"), "*/*"].map((range) => accepted.find((each) => each.range === range));
    return fitting.find((each) => each !== undefined)?.quality ?? 0;
  };
  const [best] = offered.map((type) => ({ type, quality: qualityOf(type) })).toSorted((one, other) => other.quality - one.quality);
  if (best === undefined || best.quality === 0) throw new ApiError("NOT_ACCEPTABLE", { detail: { offered } });
  return best.type;
}

function readRange(text: string): { readonly range: string; readonly quality: number } {
  const [range = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const quality = Number(parameters.find((each) => each.startsWith("q="))?.slice(2) ?? 1);
  return { range, quality: quality >= 0 && quality <= 1 ? quality : 0 };
}

/**
 * Sends a stream. A failure before its first item is thrown, and can still be answered with an error; a later one is thrown too, and closes
 * the connection, so that no client takes a part for the whole. Errors: those of the items, `ClientGoneError`.
 */
export async function sendStream(
  response: ServerResponse,
  type: string,
  { kind, item, items, status }: StreamAnswer,
  rules: WriteRules,
): Promise<void> {
  const iterator = items[Symbol.asyncIterator]();
  const format = kind === "events" ? formatEvent : type === "text/csv" ? createCsvFormat(item) : formatLine;
  const begin = (): void => {
    response.writeHead(status, {
      "content-type": type === "text/csv" ? "text/csv; charset=utf-8; header=present" : type,
      // nginx buffers answers unless this header is set.
      ...(kind === "events" ? { "x-accel-buffering": "no" } : {}),
    });
    response.flushHeaders();
  };
  let isBegun = false;
  let text =
    kind === "records" && type === "text/csv"
      ? columnsOf(item)
          .map(({ title }) => csvCell(title))
          .join(",") + "\r\n"
      : "";
  try {
    const beginOnce = (): void => {
      if (!isBegun) begin();
      isBegun = true;
    };
    if (response.req.method === "HEAD") {
      // A HEAD has no body to wait for: an endless one would block everything after it on its connection.
      const first = iterator.next();
      await (kind === "events" ? within(first, FIRST_WAIT_MS) : first);
      begin();
      response.end();
      return;
    }
    for (;;) {
      const next =
        kind === "events"
          ? await nextOrHeartbeat(iterator, isBegun, beginOnce, () => writePiece(response, HEARTBEAT, rules))
          : await iterator.next();
      beginOnce();
      if (next.done === true) break;
      text += format(next.value);
      if (kind === "events" || text.length >= PIECE_BYTES) {
        await writePiece(response, Buffer.from(text), rules);
        text = "";
      }
    }
    response.end(text);
  } finally {
    // If it ends early, the items' resources are freed.
    await iterator.return?.();
  }
}

/** The next event; until it comes the client gets a first sign, and heartbeats now and then. */
async function nextOrHeartbeat(
  iterator: AsyncIterator<unknown>,
  isBegun: boolean,
  begin: () => void,
  beat: () => Promise<void>,
): Promise<IteratorResult<unknown>> {
  const next = iterator.next();
  // A stream that cannot be followed at all fails at once, and can still be answered with an error.
  for (let waitMs = isBegun ? HEARTBEAT_MS : FIRST_WAIT_MS; ; waitMs = HEARTBEAT_MS) {
    const found = await within(next, waitMs);
    if (found !== undefined) return found;
    begin();
    await beat();
  }
}

/** The result within that time; else undefined. */
async function within<T>(next: Promise<T>, waitMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const quiet = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), waitMs);
  });
  return Promise.race([next, quiet]).finally(() => clearTimeout(timer));
}

const formatLine = (item: unknown): string => `${JSON.stringify(item)}\n`;

/** Source: HTML Living Standard, "Server-sent events". */
function formatEvent(item: unknown): string {
  const { id, kind } = item as { readonly id: string; readonly kind: string };
  // JSON holds no line break, which would end a field.
  return `id: ${id}\nevent: ${kind}\ndata: ${JSON.stringify(item)}\n\n`;
}

interface Column {
  readonly title: string;
  readonly path: readonly string[];
}

/** The fields of an object that are not objects themselves, and those of its objects, by their path. */
function columnsOf(schema: TSchema, path: readonly string[] = []): Column[] {
  const { properties } = schema as unknown as { readonly properties?: Readonly<Record<string, TSchema>> };
  if (properties === undefined) return [{ title: path.join("."), path }];
  return Object.entries(properties).flatMap(([name, field]) => columnsOf(field, [...path, name]));
}

function createCsvFormat(schema: TSchema): (item: unknown) => string {
  const columns = columnsOf(schema);
  return (item) => `${columns.map(({ path }) => csvCell(valueAt(item, path))).join(",")}\r\n`;
}

function valueAt(item: unknown, path: readonly string[]): unknown {
  let value = item;
  for (const name of path) value = (value as Readonly<Record<string, unknown>> | null | undefined)?.[name];
  return value;
}

/**
 * Characters that spreadsheets take for the beginning of a formula, also in full width and after a line break. Source: OWASP, "CSV
 * Injection".
 */
const FORMULA = /^(?=[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])/;

/** Source: RFC 4180. Text that a spreadsheet would take for a formula gets an apostrophe before it. */
function csvCell(value: unknown): string {
  if (value === undefined || value === null) return "";
  const text = typeof value === "string" ? value.replace(FORMULA, "'") : JSON.stringify(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
