// Answers to input that is not HTTP: the parser gives up before a request or a response exists. The form is that of every other error, as
// bytes for the bare connection. Pure. Not here: when they are sent (server.ts).
import { RegistryError } from "@berth/oci/errors";
import { NOT_CONTENT } from "./browsers.ts";
import { errorAnswer } from "./error-response.ts";

const PHRASES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  431: "Request Header Fields Too Large",
};

/** The answer for a parser's error. Source: https://nodejs.org/api/http.html, Event: 'clientError'. */
export function errorOfParser(code: string | undefined): RegistryError {
  switch (code) {
    case "HPE_HEADER_OVERFLOW":
      return new RegistryError("HEADERS_TOO_LARGE");
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return new RegistryError("REQUEST_INVALID", { message: "the body's chunk extensions are too large", status: 413 });
    case "ERR_HTTP_REQUEST_TIMEOUT":
      return new RegistryError("REQUEST_TIMEOUT", { message: "the request stopped arriving" });
    default:
      return new RegistryError("REQUEST_INVALID", {
        message: "this is no HTTP request",
        ...(isOfParser(code) ? { detail: { reason: code } } : {}),
      });
  }
}

// The parser's own codes, such as HPE_INVALID_METHOD, which say what it found.
function isOfParser(code: string | undefined): boolean {
  return code?.startsWith("HPE_") === true;
}

/** An answer as bytes, after which the connection is closed. */
export function answerAsBytes(error: RegistryError): string {
  const { status, headers, body } = errorAnswer(error);
  const lines = Object.entries({
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(body)),
    ...NOT_CONTENT,
    ...headers,
    connection: "close",
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${PHRASES[status] ?? "Error"}\r\n${lines.join("")}\r\n${body}`;
}
