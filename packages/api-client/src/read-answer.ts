// Parses answers of the API: errors, JSON Lines, server-sent events. Not here: sending (client.ts).
import { CallError, ConnectionError } from "./errors.ts";

/** The most characters that are read of an error answer; the registry's own have some hundred. */
const MAX_ERROR_CHARACTERS = 256 * 1024;
/** The longest line of a stream; an item has some hundred bytes. */
const MAX_LINE_CHARACTERS = 8 * 1024 * 1024;

/** The error in an answer. */
export async function readCallError(response: Response, origin: string): Promise<CallError | ConnectionError> {
  const text = await readStart(response);
  const requestId = response.headers.get("x-request-id") ?? undefined;
  const first = firstError(text);
  const { status } = response;
  if (first === undefined) {
    const location = response.headers.get("location");
    const hint = status >= 300 && status < 400 && location !== null ? ` and sends to ${location}` : "";
    return new ConnectionError("not-berth", `${origin} answered ${status}${hint}, which is no answer of Berth's API`);
  }
  const retryAfter = Number(response.headers.get("retry-after") ?? Number.NaN);
  const retryAfterSeconds = Number.isFinite(retryAfter) ? retryAfter : undefined;
  return new CallError({ ...first, status, requestId, retryAfterSeconds });
}

interface ErrorBody {
  readonly code: string;
  readonly message: string;
  readonly detail: unknown;
}

function firstError(text: string): ErrorBody | undefined {
  const body = parseOrNothing(text) as { readonly errors?: unknown } | null | undefined;
  const errors: readonly unknown[] = Array.isArray(body?.errors) ? body.errors : [];
  const first = errors[0] as Partial<ErrorBody> | null | undefined;
  return typeof first?.code === "string" ? { code: first.code, message: first.message ?? first.code, detail: first.detail } : undefined;
}

function parseOrNothing(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function readStart(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    text += decoder.decode(piece, { stream: true });
    if (text.length > MAX_ERROR_CHARACTERS) break;
  }
  return text + decoder.decode();
}

/** The lines of a text that arrives in pieces; the last one also without its line break. */
export async function* readLines(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const piece of pieces) {
    rest += decoder.decode(piece, { stream: true });
    const lines = rest.split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > MAX_LINE_CHARACTERS) throw new ConnectionError("not-berth", `a line has more than ${MAX_LINE_CHARACTERS} characters`);
    for (const line of lines) yield line.endsWith("\r") ? line.slice(0, -1) : line;
  }
  rest += decoder.decode();
  if (rest !== "") yield rest;
}

/** One item for each line. */
export async function* readRecords(lines: AsyncIterable<string>): AsyncGenerator<unknown, void, void> {
  for await (const line of lines) if (line !== "") yield parseItem(line);
}

/** One event. A stream can be resumed after its `id`. */
interface ServerEvent {
  readonly id: string | undefined;
  readonly data: unknown;
}

/** The events of a stream; one that no blank line ends is discarded. Source: HTML Living Standard, "Server-sent events". */
export async function* readEvents(lines: AsyncIterable<string>): AsyncGenerator<ServerEvent, void, void> {
  let id: string | undefined;
  let data: string[] = [];
  for await (const line of lines) {
    if (line === "") {
      if (data.length > 0) yield { id, data: parseItem(data.join("\n")) };
      data = [];
      continue;
    }
    const [, name = "", value = ""] = /^([^:]*):? ?(.*)$/s.exec(line) ?? [];
    if (name === "data") data.push(value);
    // An id with a null character is ignored.
    if (name === "id" && !value.includes("\0")) id = value;
  }
}

function parseItem(text: string): unknown {
  const item = parseOrNothing(text);
  if (item === undefined) throw new ConnectionError("not-berth", "a piece of the stream is no JSON");
  return item;
}
