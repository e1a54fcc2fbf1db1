// Sends blob bytes: whole, one range, several ranges; each piece is awaited before the next is read, so that memory stays bounded. Not
// here: finding the blob (distribution/pull.ts), opening its bytes (distribution/open-blob.ts).
import { randomBytes } from "node:crypto";
import type { ServerResponse } from "node:http";
import { parseRange, type ByteRange } from "@berth/oci/range";
import type { BlobRow } from "../../content/blobs.ts";
import type { BlobReader } from "../../distribution/open-blob.ts";
import type { Transfer } from "../transfer-rate.ts";
import { writePiece } from "../write-piece.ts";

const OCTET_STREAM = "application/octet-stream";

/** How a blob is to be sent. */
export interface BlobSend {
  readonly blob: BlobRow;
  readonly head: boolean;
  readonly rangeHeader: string | undefined;
  /** Names and values alternate. */
  readonly headers: readonly string[];
  /** A client that takes no byte for this long is disconnected; otherwise it would keep its place for ever. */
  readonly stallMs: number;
  /** The client's rate, for requests that wait for its place. */
  readonly transfer?: Transfer | undefined;
}

/** Answers with a blob. Errors: RANGE_INVALID, BLOB_DAMAGED before the answer has begun; after that the connection is closed. */
export async function sendBlob(reader: BlobReader, response: ServerResponse, send: BlobSend): Promise<void> {
  const { blob, head, rangeHeader, headers } = send;
  // A HEAD has no ranges. Source: RFC 9110, section 14.2.
  const ranges = head ? undefined : parseRange(rangeHeader, blob.sizeBytes);
  const base = [...headers, "accept-ranges", "bytes"];
  if (ranges === undefined) {
    const small = head ? undefined : reader.readSmall(blob);
    const bytes = small instanceof Promise ? await small : small;
    const whole = [...base, "content-type", OCTET_STREAM, "content-length", String(blob.sizeBytes)];
    if (bytes !== undefined || head || blob.sizeBytes === 0) {
      response.writeHead(200, whole);
      endWith(response, bytes);
      return;
    }
    await stream(reader, response, send, { start: 0, end: blob.sizeBytes - 1 }, () => response.writeHead(200, whole));
    response.end();
    return;
  }
  const [first] = ranges;
  if (ranges.length === 1 && first !== undefined) {
    const length = first.end - first.start + 1;
    const begin = (): unknown =>
      response.writeHead(206, [
        ...base,
        "content-type",
        OCTET_STREAM,
        "content-length",
        String(length),
        "content-range",
        `bytes ${first.start}-${first.end}/${blob.sizeBytes}`,
      ]);
    await stream(reader, response, send, first, begin);
    response.end();
    return;
  }
  await sendMultipart(reader, response, send, ranges, base);
}

/** Blobs of up to this size are sent in one piece with the headers. */
const ONE_PIECE_BYTES = 64 * 1024;

/**
 * Ends an answer with bytes. Small ones are written as a string of the same bytes, which Node sends together with the headers in one system
 * call.
 */
export function endWith(response: ServerResponse, bytes: Uint8Array | undefined): void {
  if (bytes === undefined || bytes.length > ONE_PIECE_BYTES) response.end(bytes);
  else response.end(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1"), "latin1");
}

// Source: RFC 9110, section 14.6, multipart/byteranges.
async function sendMultipart(
  reader: BlobReader,
  response: ServerResponse,
  send: BlobSend,
  ranges: readonly ByteRange[],
  headers: readonly string[],
): Promise<void> {
  const { blob } = send;
  const boundary = randomBytes(16).toString("hex");
  const parts = ranges.map((range) => ({
    range,
    header: `\r\n--${boundary}\r\ncontent-type: ${OCTET_STREAM}\r\ncontent-range: bytes ${range.start}-${range.end}/${blob.sizeBytes}\r\n\r\n`,
  }));
  const trailer = `\r\n--${boundary}--\r\n`;
  const length = parts.reduce((sum, part) => sum + part.header.length + part.range.end - part.range.start + 1, trailer.length);
  const begin = (): void => {
    if (response.headersSent) return;
    response.writeHead(206, [...headers, "content-type", `multipart/byteranges; boundary=${boundary}`, "content-length", String(length)]);
  };
  for (const { range, header } of parts) {
    await stream(reader, response, send, range, () => {
      begin();
      response.write(header);
    });
  }
  response.end(trailer);
}

// The headers are sent with the first piece, so that unreadable bytes are still answered with an error.
async function stream(
  reader: BlobReader,
  response: ServerResponse,
  { blob, stallMs, transfer }: BlobSend,
  range: ByteRange,
  begin: () => unknown,
): Promise<void> {
  let isBegun = false;
  for await (const piece of reader.read(blob, range.start, range.end)) {
    if (!isBegun) begin();
    isBegun = true;
    // The piece's memory is reused for the next one, so wait until the kernel has taken it.
    await writePiece(response, piece, { stallMs, transfer });
  }
}
