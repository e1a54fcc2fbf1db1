// What both real stores keep as an upload's record: which segments hold its bytes, in order. One append writes one segment under a name
// of its own and nobody writes to it again, so a request that lost the upload can write on without doing harm: no record names what it
// wrote. Not here: where segments lie (paths.ts).
import { RegistryError } from "@berth/oci/errors";
import type { UploadRecord } from "./blob-store.ts";
import { checkSegmentName } from "./paths.ts";

/** Segments from this size on stay as they are: 5 MiB is the least that S3 takes as a part that others follow. */
export const LARGE_BYTES = 5 * 1024 * 1024;

/** So many segments are put together into one before the next: it bounds the record (60 KB) and stays far below S3's 10000 parts. */
export const MAX_SEGMENTS = 1000;

/** Where there are too many, those at the front that have come to this size stay: what was joined once is not joined again and again. */
export const JOINED_BYTES = 512 * LARGE_BYTES;

/**
 * So many small segments of one level become one of the next: a byte is copied once a level at most, in however small chunks it came.
 * Sixteen makes six levels of one byte to 5 MiB, so that a record holds 90 small segments at most.
 */
const LEVEL_FACTOR = 16;

/** What an append of unknown length is taken for: nothing small is, as `upload-session.ts` looks so far ahead. */
export const UNKNOWN_APPEND_BYTES = 64 * 1024;

/** Bytes that one append wrote, in one file or object. */
export interface Segment {
  readonly name: string;
  readonly sizeBytes: number;
  /** Written as the upload's first bytes: S3 puts these where they can stay. */
  readonly isFirst: boolean;
}

/** An upload's segments, as its record keeps them. */
export interface SegmentRecord {
  readonly segments: readonly Segment[];
  /** What this record no longer needs and the one before it did: removed once this one is known to be saved. */
  readonly superseded: readonly Segment[];
}

function listOf(list: unknown): readonly Segment[] {
  if (!Array.isArray(list)) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
  return list.map((item: Partial<Record<keyof Segment, unknown>> | null) => {
    const sizeBytes = item?.sizeBytes;
    if (typeof sizeBytes !== "number" || !Number.isSafeInteger(sizeBytes) || sizeBytes < 1) throw new RegistryError("BLOB_UPLOAD_UNKNOWN");
    return { name: checkSegmentName(item?.name), sizeBytes, isFirst: item?.isFirst === true };
  });
}

/** The segments that one record has and another does not: what was written between them. */
export function segmentsBetween(from: UploadRecord, to: UploadRecord): readonly Segment[] {
  const known = new Set(segmentsOf(from).segments.map((segment) => segment.name));
  return segmentsOf(to).segments.filter((segment) => !known.has(segment.name));
}

/** Reads a record back from the database. Errors: BLOB_UPLOAD_UNKNOWN where it is not of this form. */
export function segmentsOf(record: UploadRecord): SegmentRecord {
  return { segments: listOf(record["segments"]), superseded: listOf(record["superseded"] ?? []) };
}

/** The record of an upload that has no bytes yet. */
export function emptyRecord(): UploadRecord {
  return { segments: [] };
}

/** Makes a record for the database. */
export function recordOf({ segments, superseded }: SegmentRecord): UploadRecord {
  return superseded.length === 0 ? { segments } : { segments, superseded };
}

/** Bytes of all segments. */
export function sumOf(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.sizeBytes, 0);
}

/**
 * What an append of so many bytes copies into its own segment, and what stays as it is: small segments in front of it that are of a lower
 * level, and a full row of its own level.
 */
export function foldOf(
  segments: readonly Segment[],
  appendedBytes: number | undefined,
): { readonly kept: readonly Segment[]; readonly folded: readonly Segment[] } {
  let from = segments.length;
  if (segments.length >= MAX_SEGMENTS) {
    from = segments.findIndex(({ sizeBytes }) => sizeBytes < JOINED_BYTES);
    // Half of the record is to be free afterwards.
    if (from === -1 || from > MAX_SEGMENTS / 2) from = 0;
    return { kept: segments.slice(0, from), folded: segments.slice(from) };
  }
  let sizeBytes = appendedBytes ?? UNKNOWN_APPEND_BYTES;
  for (;;) {
    const level = levelOf(sizeBytes);
    let first = from;
    while (first > 0 && levelOf(segments[first - 1]!.sizeBytes) < level) first--;
    if (first === from && level < LARGE_LEVEL) {
      while (first > 0 && levelOf(segments[first - 1]!.sizeBytes) === level) first--;
      if (from - first + 1 < LEVEL_FACTOR) break;
    }
    if (first === from) break;
    sizeBytes += sumOf(segments.slice(first, from));
    from = first;
  }
  return { kept: segments.slice(0, from), folded: segments.slice(from) };
}

const LARGE_LEVEL = 6;

/** 6 for a large segment; each level below it is a sixteenth of the one above. */
function levelOf(sizeBytes: number): number {
  let level = LARGE_LEVEL;
  for (let bound = LARGE_BYTES; level > 0 && sizeBytes < bound; bound /= LEVEL_FACTOR) level--;
  return level;
}

/** A body with older bytes in front of it; empty, without a look at those, where the body is. */
export async function* withOlderBytes(
  older: () => AsyncIterable<Uint8Array>,
  body: AsyncIterable<Uint8Array>,
  onBytes: (piece: Uint8Array) => void,
): AsyncGenerator<Uint8Array, void, void> {
  let begun = false;
  for await (const piece of body) {
    if (piece.length === 0) continue;
    onBytes(piece);
    if (!begun) {
      begun = true;
      yield* older();
    }
    yield piece;
  }
}

/** The error for an upload that holds another number of bytes than it should. */
export function wrongSize(receivedBytes: number, expectedBytes: number): RegistryError {
  return new RegistryError("BLOB_UPLOAD_INVALID", { detail: { receivedBytes, expectedBytes } });
}
