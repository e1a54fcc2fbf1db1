// The upload record of both real stores: the list of segments that hold its bytes, in order. One append writes one segment under a new name
// and nobody writes to it again, so a request that lost the upload does no harm when it continues to write: no record names its segment.
// Not here: where segments are stored (paths.ts).
import { RegistryError } from "@berth/oci/errors";
import type { UploadRecord } from "./blob-store.ts";
import { checkSegmentName } from "./paths.ts";

/** Segments of this size and more are not joined: 5 MiB is the smallest S3 part that may have a successor. */
export const LARGE_BYTES = 5 * 1024 * 1024;

/** This many segments are joined into one before the next: it bounds the record (60 KB) and stays far below S3's 10000 parts. */
export const MAX_SEGMENTS = 1000;

/** If there are too many, those at the front that have reached this size stay, so that joined segments are not joined again and again. */
export const JOINED_BYTES = 512 * LARGE_BYTES;

/**
 * This many small segments of one level become one of the next: a byte is copied at most once for each level, however small the chunks are.
 * Sixteen makes six levels from one byte to 5 MiB, so that a record holds at most 90 small segments.
 */
const LEVEL_FACTOR = 16;

/** The assumed size of an append of unknown length: it is never small, because `upload-session.ts` reads ahead that far. */
export const UNKNOWN_APPEND_BYTES = 64 * 1024;

/** The bytes of one append, in one file or object. */
export interface Segment {
  readonly name: string;
  readonly sizeBytes: number;
  /** Written as the upload's first bytes: S3 writes these to their final place. */
  readonly isFirst: boolean;
}

/** An upload's segments, as its record lists them. */
export interface SegmentRecord {
  readonly segments: readonly Segment[];
  /** Segments of the previous record that this one no longer needs: they are removed once this one is known to be saved. */
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

/** The segments that one record has and another does not: those written in between. */
export function segmentsBetween(from: UploadRecord, to: UploadRecord): readonly Segment[] {
  const known = new Set(segmentsOf(from).segments.map((segment) => segment.name));
  return segmentsOf(to).segments.filter((segment) => !known.has(segment.name));
}

/** Parses a record from the database. Errors: BLOB_UPLOAD_UNKNOWN if it has another form. */
export function segmentsOf(record: UploadRecord): SegmentRecord {
  return { segments: listOf(record["segments"]), superseded: listOf(record["superseded"] ?? []) };
}

/** The record of an upload without bytes. */
export function emptyRecord(): UploadRecord {
  return { segments: [] };
}

/** Builds a record for the database. */
export function recordOf({ segments, superseded }: SegmentRecord): UploadRecord {
  return superseded.length === 0 ? { segments } : { segments, superseded };
}

/** The bytes of all segments. */
export function sumOf(segments: readonly Segment[]): number {
  return segments.reduce((sum, segment) => sum + segment.sizeBytes, 0);
}

/**
 * Which segments an append of that many bytes copies into its own, and which stay: it copies small segments before it that are of a lower
 * level, and a full row of its own level.
 */
export function foldOf(
  segments: readonly Segment[],
  appendedBytes: number | undefined,
): { readonly kept: readonly Segment[]; readonly folded: readonly Segment[] } {
  let from = segments.length;
  if (segments.length >= MAX_SEGMENTS) {
    from = segments.findIndex(({ sizeBytes }) => sizeBytes < JOINED_BYTES);
    // Half of the record must be free afterwards.
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

/** 6 for a large segment; each level below covers a sixteenth of the size of the one above. */
function levelOf(sizeBytes: number): number {
  let level = LARGE_LEVEL;
  for (let bound = LARGE_BYTES; level > 0 && sizeBytes < bound; bound /= LEVEL_FACTOR) level--;
  return level;
}

/** A body preceded by older bytes; empty, without reading those, if the body is empty. */
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

/** The error for an upload whose number of bytes is wrong. */
export function wrongSize(receivedBytes: number, expectedBytes: number): RegistryError {
  return new RegistryError("BLOB_UPLOAD_INVALID", { detail: { receivedBytes, expectedBytes } });
}
