// Log lines of requests: one for every write and every refused login, or one for each request. Facts that are learnt while a request is
// handled are kept in its record. Not here: the log itself (platform/log.ts), what is counted (platform/metrics.ts).
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import type { AccountCaller } from "../access/caller.ts";
import { isLogged, type Logger, lineWriterOf } from "../platform/log.ts";
import { HEALTH_PATHS } from "./entrance-refusals.ts";
import type { V2Kind, V2Request } from "./v2/parse-request.ts";

/** Which requests get a line. `changes`: writes, and logins that were refused. */
export type RequestLogMode = "none" | "changes" | "all";

/**
 * Facts about a request, filled in by the parts that handle it. Every request has a record, so creating it must be cheap; a log line is
 * built only where one is written.
 */
export interface RequestRecord {
  /** On the clock of `performance.now`. */
  readonly startedAt: number;
  /** The request as the data plane parsed it. */
  parsed: V2Request | undefined;
  /** On the other planes, the kind of operation, as in metrics and in the API's document; undefined for an unknown address. */
  operation: string | undefined;
  /** Whether an operation of the API changes something when it succeeds. */
  isWrite: boolean;
  /** The login name of the authenticated caller. */
  account: string | undefined;
  /** Its id. */
  accountId: number | undefined;
  /** The object of an API operation: the names in its address. */
  target: Readonly<Record<string, string>> | undefined;
  /** The name that a refused login tried. */
  refusedLogin: string | undefined;
  /** The error code of the answer; that of its reason where the answer hides it. */
  code: string | undefined;
  /** Counted on the connection, from the request's headers to the answer's end. */
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
  /** Called once for each request, when its answer has been sent or its client has left. */
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
    accountId: undefined,
    target: undefined,
    refusedLogin: undefined,
    code: undefined,
    receivedBytes: 0,
    sentBytes: 0,
  };
}

/** Records who sends a request. */
export function recordCaller(record: RequestRecord, { name, accountId }: Pick<AccountCaller, "name" | "accountId">): void {
  record.account = name;
  record.accountId = accountId;
}

/** The length to which the name of a refused login is cut: real names of users and robots are shorter. */
const MAX_NAME_SHOWN = 200;
/** Lines about refused logins in one second. The rest of a flood is summed up in one line, so that it cannot fill the disk. */
const REFUSED_LOGINS_PER_SECOND = 20;
// This includes the begin of an upload: a refused one shows who may not push.
const WRITES: ReadonlySet<V2Kind> = new Set(["manifest-put", "manifest-delete", "blob-delete", "upload-finish", "upload-begin", "mount"]);

/** The name in Basic credentials, for the log; undefined where there are none. */
export function basicNameOf(authorization: string | undefined): string | undefined {
  if (authorization === undefined || !/^basic /i.test(authorization)) return undefined;
  const decoded = Buffer.from(authorization.slice(6, 6 + MAX_NAME_SHOWN * 4), "base64").toString("utf8");
  const colon = decoded.indexOf(":");
  return colon === -1 ? "" : decoded.slice(0, colon);
}

/**
 * Records what an error says about a request. `tried` is the login name where it did not come as Basic credentials, for example in a form.
 */
export function recordError(record: RequestRecord, error: unknown, request: IncomingMessage, tried?: string): void {
  record.code = error instanceof RegistryError ? error.code : "UNKNOWN";
  // The answer hides it from who may not know; records do not.
  if (error instanceof RegistryError && error.cause instanceof RegistryError && error.cause.code === "NETWORK_REFUSED")
    record.code = error.cause.code;
  // An authenticated caller is refused for another reason; without credentials there was no login, and an expired token is not a login
  // either.
  if (record.account !== undefined || (record.code !== "UNAUTHORIZED" && record.code !== "TOOMANYREQUESTS")) return;
  record.refusedLogin ??= tried ?? basicNameOf(request.headers.authorization);
}

/** Creates the request log. Undefined where nothing is to be written. */
export function createRequestLog(logger: Logger, mode: RequestLogMode): RequestLog | undefined {
  if (mode === "none") return undefined;
  const write = lineWriterOf(logger);
  const refusals = { second: 0, written: 0, left: 0 };

  // True once this second's lines are used up.
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
      // The log level may change at run time.
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
    // Clients begin without credentials to learn how to log in: that is not a refusal.
    if (status >= 400 && (status !== 401 || record.account !== undefined)) return "change refused";
  }
  // Probes come every second from every load balancer.
  if (mode === "changes" || (status === 200 && HEALTH_PATHS.has(request.url ?? ""))) return undefined;
  return "request";
}

// Bytes that came in one packet with the headers are missing from the connection's count since then.
function receivedBytes(request: IncomingMessage, sinceHeaders: number): number {
  const length = Number(request.headers["content-length"] ?? 0);
  return request.complete && length > sinceHeaders ? length : sinceHeaders;
}

// An upload that has only begun, also one in place of a mount, has changed nothing visible.
function hasOnlyBegun(kind: V2Kind | undefined, status: number): boolean {
  return status === 202 && (kind === "upload-begin" || kind === "mount");
}

/** A tag, a digest, or an upload's id. */
export function referenceOf(parsed: V2Request | undefined): string | undefined {
  if (parsed === undefined) return undefined;
  if ("reference" in parsed) return parsed.reference.kind === "tag" ? parsed.reference.tag : parsed.reference.digest;
  if ("digest" in parsed) return parsed.digest;
  if ("id" in parsed) return parsed.id;
  return "subject" in parsed ? parsed.subject : undefined;
}

// An answer that the kernel took at once has not emitted 'finish' yet when the line is written. It is complete if it has ended and its
// client is still there.
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
    // The query may hold something private, such as a search.
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
