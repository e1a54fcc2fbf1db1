// An answer of JSON that nothing keeps. Not here: errors (error-response.ts), the data plane's answers (v2/).
import type { ServerResponse } from "node:http";

/** Sends it and ends the answer. */
export function sendJson(response: ServerResponse, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-store",
  });
  response.end(text);
}
