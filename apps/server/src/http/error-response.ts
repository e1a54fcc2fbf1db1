// The one place where an error becomes an answer, on both planes. Not here: codes and their meaning (@berth/oci/errors, @berth/api/errors).
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import { NOT_CONTENT } from "./browsers.ts";

/** Clients of old look for it to tell a registry from any other server. */
export const API_VERSION_HEADER = { "docker-distribution-api-version": "registry/2.0" };

/** An error as it goes out. */
export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Seconds after which to ask again, where the error does not say: as long as one answer about a backend's state holds, and some. */
const RETRY_AFTER_SECONDS = "2";
/** The same where there is no room: somebody has to make some, or collection frees it with one of its next rounds. */
const RETRY_AFTER_FULL_SECONDS = "30";
const RETRY_AFTER: ReadonlyMap<number, string> = new Map([
  [503, RETRY_AFTER_SECONDS],
  [507, RETRY_AFTER_FULL_SECONDS],
]);

/** Maps any thrown value; what is not a `RegistryError` tells the client nothing but that it happened. */
export function errorAnswer(error: unknown): ErrorAnswer {
  const known = error instanceof RegistryError ? error : new RegistryError("UNKNOWN", { cause: error });
  const { code, message, detail, status, headers } = known;
  const retryAfter = RETRY_AFTER.get(status);
  return {
    status,
    headers: retryAfter === undefined ? headers : { "retry-after": retryAfter, ...headers },
    body: JSON.stringify({ errors: [detail === undefined ? { code, message } : { code, message, detail }] }),
  };
}

/** Whether an error is worth a line at error level: the registry's own fault, not the client's, and not in the log already. */
export function isServerFault(error: unknown): boolean {
  return !(error instanceof RegistryError) || (error.status >= 500 && !error.isReported);
}

/** Sends an error, unless the answer has begun: then the connection is broken off, so that nobody takes a part for the whole. */
export function sendError(
  request: IncomingMessage,
  response: ServerResponse,
  error: unknown,
  extra: Readonly<Record<string, string>> = {},
): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  let answer: ErrorAnswer;
  try {
    answer = errorAnswer(error);
    writeHead(response, answer, extra);
  } catch {
    // Something of it cannot be said, such as a header's value: better said without than not at all. The error itself is in the log.
    answer = errorAnswer(undefined);
    writeHead(response, answer, {});
  }
  response.end(request.method === "HEAD" ? undefined : answer.body);
}

function writeHead(response: ServerResponse, { status, headers, body }: ErrorAnswer, extra: Readonly<Record<string, string>>): void {
  response.writeHead(status, {
    ...NOT_CONTENT,
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    ...headers,
    ...extra,
  });
}
