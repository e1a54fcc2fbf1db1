// What the log says of requests: one line for every write and every refused login, or one for each request. What is learnt of a request on
// its way is kept in its record. Not here: the log itself (platform/log.ts), what is counted (platform/metrics.ts).
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import { isLogged, type Logger, lineWriterOf } from "../platform/log.ts";
import type { V2Kind, V2Request } from "./v2/parse-request.ts";

/** Which requests get a line. `changes`: writes, and logins that were refused. */
export type RequestLogMode = "none" | "changes" | "all";

/**
 * What is learnt of a request on its way: each part writes down what it finds out. Every request has one, so that it costs as little as it
 * can: lines are made of it where one is written.
 */
export interface RequestRecord {
  /** As `performance.now` says it. */
  readonly startedAt: number;
  /** What was asked of the data plane. */
  parsed: V2Request | undefined;
  /** Otherwise the kind of operation, as in the metrics and in the API's document; undefined where the address is none of ours. */
  operation: string | undefined;
  /** Whether an operation of the API changes something when it succeeds. */
  isWrite: boolean;
  /** The login name of who was recognised. */
  account: string | undefined;
  /** What an operation of the API is about: the names in its address. */
  target: Readonly<Record<string, string>> | undefined;
  /** The name that was tried, where a login was refused. */
  refusedLogin: string | undefined;
  /** The code of the error that was answered. */
  code: string | undefined;
  /** Of the connection, from the request's headers to the answer's end. */
  receivedBytes: number;
  sentBytes: number;
}

/** A request that ended, with what the server knows of it. */
export interface EndedRequest {
  readonly id: string;
  readonly remoteAddress: string;
  readonly record: RequestRecord;
}

/** Writes the lines. */
export interface RequestLog {
  /** Call it once for each request, when its answer has been sent or its client has left. */
  end(request: IncomingMessage, response: ServerResponse, ended: EndedRequest): void;
}

/** An empty record. */
export function createRequestRecord(): RequestRecord {
  return {
    startedAt: performance.now(),
    parsed: undefined,
    operation: undefined,
    isWrite: false,
    account: undefined,
    target: undefined,
    refusedLogin: undefined,
    code: undefined,
    receivedBytes: 0,
    sentBytes: 0,
  };
}

/** Longest name that a refused login is shown with: user names and robots' names are shorter. */
const MAX_NAME_SHOWN = 200;
/** Lines about refused logins in one second; the rest of a flood of them is counted in one line, so that it cannot fill the disk. */
const REFUSED_LOGINS_PER_SECOND = 20;
// The begin of an upload too: one that is refused tells who may not push.
const WRITES: ReadonlySet<V2Kind> = new Set(["manifest-put", "manifest-delete", "blob-delete", "upload-finish", "upload-begin", "mount"]);

/** Probes come every second from every load balancer. */
const PROBES: ReadonlySet<string> = new Set(["/healthz", "/readyz"]);

/** The name in Basic credentials, for the log; undefined where there are none. */
function basicNameOf(authorization: string | undefined): string | undefined {
  if (authorization === undefined || !/^basic /i.test(authorization)) return undefined;
  const decoded = Buffer.from(authorization.slice(6, 6 + MAX_NAME_SHOWN * 4), "base64").toString("utf8");
  const colon = decoded.indexOf(":");
  return colon === -1 ? "" : decoded.slice(0, colon);
}

/** Keeps what an error says of a request. `tried`: the name of a login that came otherwise than as Basic credentials, in a form say. */
export function recordError(record: RequestRecord, error: unknown, request: IncomingMessage, tried?: string): void {
  record.code = error instanceof RegistryError ? error.code : "UNKNOWN";
  // Who was recognised is refused something else; without credentials there was no login, and a token that has ended is none either.
  if (record.account !== undefined || (record.code !== "UNAUTHORIZED" && record.code !== "TOOMANYREQUESTS")) return;
  record.refusedLogin ??= tried ?? basicNameOf(request.headers.authorization);
}

/** Creates the request log. Undefined where nothing is to be written. */
export function createRequestLog(logger: Logger, mode: RequestLogMode): RequestLog | undefined {
  if (mode === "none") return undefined;
  const write = lineWriterOf(logger);
  const refusals = { second: 0, written: 0, left: 0 };

  // True where this second has had its lines.
  function isFlood(): boolean {
    const second = Math.floor(performance.now() / 1000);
    if (second !== refusals.second) {
      if (refusals.left > 0) logger.warn({ refused: refusals.left }, "more logins were refused than have lines of their own");
      Object.assign(refusals, { second, written: 0, left: 0 });
    }
    if (refusals.written < REFUSED_LOGINS_PER_SECOND) {
      refusals.written++;
      return false;
    }
    refusals.left++;
    return true;
  }

  return {
    end(request, response, ended) {
      // The level may change while everything runs.
      if (!isLogged(logger, "info")) return;
      const { record } = ended;
      const message = messageOf(mode, request, response, record);
      if (message === undefined || (message === "login refused" && isFlood())) return;
      write(fieldsOf(request, response, ended), message);
    },
  };
}

type Message = "change" | "change refused" | "login refused" | "request";

function messageOf(mode: RequestLogMode, request: IncomingMessage, response: ServerResponse, record: RequestRecord): Message | undefined {
  const status = response.statusCode;
  if (record.refusedLogin !== undefined) return "login refused";
  const kind = record.parsed?.kind;
  if (kind === undefined ? record.isWrite : WRITES.has(kind)) {
    if (status < 400 && !hasOnlyBegun(kind, status)) return "change";
    // Clients begin without credentials to learn how to get them: that is no refusal.
    if (status >= 400 && (status !== 401 || record.account !== undefined)) return "change refused";
  }
  if (mode === "changes" || (status === 200 && PROBES.has(request.url ?? ""))) return undefined;
  return "request";
}

// What came in one packet with the headers is not among the bytes that the connection read since.
function receivedBytes(request: IncomingMessage, sinceHeaders: number): number {
  const length = Number(request.headers["content-length"] ?? 0);
  return request.complete && length > sinceHeaders ? length : sinceHeaders;
}

// An upload that has begun, also in place of a mount, has changed nothing that anybody sees.
function hasOnlyBegun(kind: V2Kind | undefined, status: number): boolean {
  return status === 202 && (kind === "upload-begin" || kind === "mount");
}

/** A tag, a digest, or an upload's id. */
function referenceOf(parsed: V2Request | undefined): string | undefined {
  if (parsed === undefined) return undefined;
  if ("reference" in parsed) return parsed.reference.kind === "tag" ? parsed.reference.tag : parsed.reference.digest;
  if ("digest" in parsed) return parsed.digest;
  if ("id" in parsed) return parsed.id;
  return "subject" in parsed ? parsed.subject : undefined;
}

// What the kernel took at once has no 'finish' yet when the line is written: an answer that has ended and has not lost its client is whole.
function isComplete(response: ServerResponse): boolean {
  return response.writableFinished || (response.writableEnded && !response.destroyed && !response.closed);
}

function fieldsOf(request: IncomingMessage, response: ServerResponse, ended: EndedRequest): Record<string, unknown> {
  const { record } = ended;
  const { parsed } = record;
  const operation = parsed?.kind ?? record.operation;
  return {
    requestId: ended.id,
    address: ended.remoteAddress,
    account: record.account,
    login: record.refusedLogin?.slice(0, MAX_NAME_SHOWN),
    method: request.method,
    operation,
    // The query may hold what is nobody's business, such as a search.
    path: operation === undefined ? request.url?.split("?", 1)[0] : undefined,
    repository: parsed !== undefined && "repository" in parsed ? parsed.repository : undefined,
    reference: referenceOf(parsed),
    target: record.target,
    status: response.headersSent ? response.statusCode : 0,
    code: record.code,
    receivedBytes: receivedBytes(request, record.receivedBytes),
    sentBytes: record.sentBytes,
    milliseconds: Math.round((performance.now() - record.startedAt) * 100) / 100,
    userAgent: request.headers["user-agent"]?.slice(0, MAX_NAME_SHOWN),
    complete: isComplete(response) ? undefined : false,
  };
}
