// The one place where an error becomes an answer, on both planes. Not here: codes and their meaning (@berth/oci/errors, @berth/api/errors).
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import { NOT_CONTENT } from "./browsers.ts";

/** Old clients look for this header to recognise a registry. */
export const API_VERSION_HEADER = { "docker-distribution-api-version": "registry/2.0" };

/** An error as it is sent. */
export interface ErrorAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** In seconds, for errors that set no Retry-After: the time for which a backend's state is cached, and a little more. */
const RETRY_AFTER_SECONDS = "2";
/** The same for a full store: an operator has to make room, or a later round of garbage collection does. */
const RETRY_AFTER_FULL_SECONDS = "30";
const RETRY_AFTER: ReadonlyMap<number, string> = new Map([
  [503, RETRY_AFTER_SECONDS],
  [507, RETRY_AFTER_FULL_SECONDS],
]);

/** Maps any thrown value. Of an error other than a `RegistryError` the client learns only that it happened. */
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

/** Whether an error deserves a line at error level: it is the server's fault, not the client's, and is not logged yet. */
export function isServerFault(error: unknown): boolean {
  return !(error instanceof RegistryError) || (error.status >= 500 && !error.isReported);
}

/** Sends an error. If the answer has already begun, the connection is closed instead, so that no client takes a part for the whole. */
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
    // Part of it cannot be sent, such as a header's value. An answer without it is better than none; the error itself is in the log.
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
