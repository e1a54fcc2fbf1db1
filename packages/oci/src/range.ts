// HTTP byte ranges of blob reads and of upload chunks. Pure. Not here: the answers (http/v2/blob-response.ts).
import { RegistryError } from "./errors.ts";

/** Bytes `start` to `end`, both inclusive. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * The most ranges in one request; with more, the whole content is sent. Each costs a part header and a read. Podman and CRI-O request that
 * many for the missing files of a zstd:chunked layer, and otherwise pull the whole layer. Source: containers/storage, pkg/chunked.
 */
export const MAX_RANGES = 1024;

/** This many ranges of the largest blob fit, and all headers of a request together are limited to the same length. */
const MAX_HEADER_LENGTH = 32 * 1024;

/**
 * Parses a `Range` header for a given size. Undefined means: send everything (no header, another unit, malformed, too many, or together
 * longer than the content: with overlapping ranges a small request could cost a thousand blobs).
 * Errors: RANGE_INVALID if no range can be satisfied. Source: RFC 9110, section 14.
 */
export function parseRange(header: string | undefined, sizeBytes: number): readonly ByteRange[] | undefined {
  // Empty content has no parts, and some clients send a range with every request. Source: RFC 9110, section 14.2, a range may be ignored.
  if (header === undefined || header.length > MAX_HEADER_LENGTH || sizeBytes === 0) return undefined;
  const match = /^bytes=(.+)$/i.exec(header.trim());
  if (match === null) return undefined;
  const specs = match[1]!
    .split(",")
    .map((spec) => spec.trim())
    .filter((spec) => spec !== "");
  if (specs.length === 0 || specs.length > MAX_RANGES) return undefined;
  const ranges: ByteRange[] = [];
  for (const spec of specs) {
    const parts = /^(\d{0,15})-(\d{0,15})$/.exec(spec);
    if (parts === null || (parts[1] === "" && parts[2] === "")) return undefined;
    const range = resolve(parts[1]!, parts[2]!, sizeBytes);
    if (range !== undefined) ranges.push(range);
  }
  if (ranges.length === 0) {
    throw new RegistryError("RANGE_INVALID", { detail: { sizeBytes }, headers: { "content-range": `bytes */${sizeBytes}` } });
  }
  const sum = ranges.reduce((bytes, { start, end }) => bytes + end - start + 1, 0);
  return sum > sizeBytes ? undefined : ranges;
}

function resolve(first: string, last: string, sizeBytes: number): ByteRange | undefined {
  if (first === "") {
    const length = Number(last);
    if (length === 0) return undefined;
    return { start: Math.max(0, sizeBytes - length), end: sizeBytes - 1 };
  }
  const start = Number(first);
  const end = last === "" ? sizeBytes - 1 : Number(last);
  // A range that ends before it begins may be ignored or refused; an error helps the client that built it.
  if (end < start || start >= sizeBytes) return undefined;
  return { start, end: Math.min(end, sizeBytes - 1) };
}

/** The start of a chunk, and its length. */
export interface ChunkRange {
  readonly start: number;
  readonly lengthBytes: number;
}

/**
 * Parses the `Content-Range` of an upload chunk, `<start>-<end>` with or without `bytes `; undefined if there is none, or an empty one. An
 * empty chunk has no last byte: clients write the byte before its start, or the start, and both are accepted.
 * Errors: BLOB_UPLOAD_INVALID, SIZE_INVALID if it contradicts the length. Source: distribution-spec, Pushing a blob in chunks.
 */
export function parseContentRange(header: string | undefined, lengthBytes: number | undefined): ChunkRange | undefined {
  const text = header?.trim() ?? "";
  if (text === "") return undefined;
  const match = /^(?:bytes[ =] *)?(\d{1,15})-(-1|\d{1,15})(?:\/(?:\d{1,15}|\*))?$/i.exec(text);
  const start = Number(match?.[1]);
  const end = Number(match?.[2]);
  if (match !== null && lengthBytes === 0 && (end === start || end === start - 1)) return { start, lengthBytes };
  if (match === null || end < start) {
    throw new RegistryError("BLOB_UPLOAD_INVALID", {
      message: "Content-Range is not <start>-<end>",
      detail: { contentRange: text.slice(0, 100) },
    });
  }
  if (lengthBytes !== undefined && end - start + 1 !== lengthBytes) {
    throw new RegistryError("SIZE_INVALID", { detail: { contentRange: text, contentLength: lengthBytes } });
  }
  return { start, lengthBytes: end - start + 1 };
}
