// HTTP byte ranges of blob reads and of upload chunks. Pure. Not here: what is sent for them (http/v2/blob-response.ts).
import { RegistryError } from "./errors.ts";

/** Bytes `start` to `end`, both inclusive. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Most ranges in one request; more is answered as the whole content. Each costs a part header and a read. Podman and CRI-O ask for the missing
 * files of a zstd:chunked layer by as many, and pull the whole layer where they get it whole. Source: containers/storage, pkg/chunked.
 */
export const MAX_RANGES = 1024;

/** So many ranges of the largest blob fit, and all headers of a request together are not longer. */
const MAX_HEADER_LENGTH = 32 * 1024;

/**
 * Reads a `Range` header against a size. Undefined means: send everything (no header, another unit, malformed, too many, or more bytes together
 * than everything has: ranges that overlap would make a small request cost a thousand blobs).
 * Errors: RANGE_INVALID where no range can be satisfied. Source: RFC 9110, section 14.
 */
export function parseRange(header: string | undefined, sizeBytes: number): readonly ByteRange[] | undefined {
  // Of nothing there is no part: some clients put a range on every request. Source: RFC 9110, section 14.2, a range may be ignored.
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
  // Ends before it begins: such a range may be ignored or refused, and a client that made it is better told.
  if (end < start || start >= sizeBytes) return undefined;
  return { start, end: Math.min(end, sizeBytes - 1) };
}

/** Where a chunk begins, and how long it is. */
export interface ChunkRange {
  readonly start: number;
  readonly lengthBytes: number;
}

/**
 * Reads the `Content-Range` of an upload chunk, `<start>-<end>` with or without `bytes `; undefined where there is none, or an empty one.
 * A chunk without a byte has no last one: clients write the byte before its start for it, or the start, and either is taken.
 * Errors: BLOB_UPLOAD_INVALID, SIZE_INVALID where it contradicts the length. Source: distribution-spec, Pushing a blob in chunks.
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
