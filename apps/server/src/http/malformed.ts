// Answers to what is no request: where the parser gives up, before there is a request or a response to speak of. In the same form as every
// other error, as bytes for the bare connection. Pure. Not here: when they are sent (server.ts).
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

/** What a parser's error says to the client. Source: https://nodejs.org/api/http.html, Event: 'clientError'. */
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

// Names of the parser's own, which tell who reads them what it found: HPE_INVALID_METHOD, for example.
function isOfParser(code: string | undefined): boolean {
  return code?.startsWith("HPE_") === true;
}

/** An answer as bytes, behind which the connection ends. */
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
