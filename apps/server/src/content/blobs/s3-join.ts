// Joins objects into one, inside the service as far as possible: it accepts no part below 5 MiB except the last, so smaller objects are
// read and sent again, together with as much of the next one as makes a part. Not here: objects from streams (s3-write.ts).
import { RegistryError } from "@berth/oci/errors";
import type { S3Bucket, UploadedPart } from "./s3-client.ts";
import { readObject } from "./s3-read.ts";
import { MAX_PARTS, MIN_PART_BYTES, multipart } from "./s3-write.ts";
import type { UploadMemory } from "./upload-memory.ts";

// A copy costs us only a request.
const PARALLEL_COPIES = 8;
// A service may copy up to 5 GiB for one part; copies of 1 GiB run in parallel and stay within every idle timeout.
const COPY_BYTES = 1024 * 1024 * 1024;

/** An object to be appended to others. */
export interface JoinSource {
  readonly name: string;
  readonly sizeBytes: number;
}

/** Bytes of an object, both ends included. */
interface Stretch {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

/** A part of the joined object: one stretch that the service copies, or several that are read and sent, less than 10 MiB together. */
type JoinPart = { readonly kind: "copied"; readonly stretch: Stretch } | { readonly kind: "sent"; readonly stretches: readonly Stretch[] };

/** Cuts objects into parts that the service accepts. */
export function planParts(sources: readonly JoinSource[]): readonly JoinPart[] {
  const parts: JoinPart[] = [];
  let small: Stretch[] = [];
  let smallBytes = 0;
  const send = (): void => {
    parts.push({ kind: "sent", stretches: small });
    small = [];
    smallBytes = 0;
  };
  for (const [index, { name, sizeBytes }] of sources.entries()) {
    const isLast = index === sources.length - 1;
    let start = 0;
    if (smallBytes > 0 || (sizeBytes < MIN_PART_BYTES && !isLast)) {
      const missing = MIN_PART_BYTES - smallBytes;
      const rest = sizeBytes - missing;
      // The rest must be large enough for a part of its own.
      start = rest >= MIN_PART_BYTES || (isLast && rest > 0) ? missing : sizeBytes;
      small.push({ name, start: 0, end: start - 1 });
      smallBytes += start;
      if (smallBytes >= MIN_PART_BYTES) send();
    }
    parts.push(...copiesOf(name, start, sizeBytes));
  }
  if (smallBytes > 0) send();
  return parts;
}

/** As few copies as possible, of about the same size. */
function copiesOf(name: string, from: number, to: number): readonly JoinPart[] {
  const sizeBytes = to - from;
  const count = Math.ceil(sizeBytes / COPY_BYTES);
  return Array.from({ length: count }, (_, index) => ({
    kind: "copied",
    stretch: {
      name,
      start: from + Math.floor((sizeBytes * index) / count),
      end: from + Math.floor((sizeBytes * (index + 1)) / count) - 1,
    },
  }));
}

/** Joins objects into one. Errors: UNAVAILABLE (also after too long a wait for memory), STORAGE_FULL, BLOB_TOO_LARGE. */
export async function joinObjects(bucket: S3Bucket, name: string, sources: readonly JoinSource[], memory: UploadMemory): Promise<void> {
  const planned = planParts(sources);
  if (planned.length > MAX_PARTS) throw new RegistryError("BLOB_TOO_LARGE", { detail: { maxBytes: MAX_PARTS * COPY_BYTES } });
  const sizeBytes = sources.reduce((sum, source) => sum + source.sizeBytes, 0);
  await multipart(
    bucket,
    name,
    () => sizeBytes,
    async (id) => {
      const parts: UploadedPart[] = [];
      const queue = planned.entries();
      const worker = async (): Promise<void> => {
        for (const [index, part] of queue) {
          if (part.kind === "sent") parts.push(await send(id, index + 1, part.stretches));
          else parts.push(await bucket.copyPart(name, id, index + 1, part.stretch.name, part.stretch.start, part.stretch.end));
        }
      };
      const results = await Promise.allSettled(Array.from({ length: PARALLEL_COPIES }, worker));
      const failed = results.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      return parts.toSorted((one, other) => one.number - other.number);
    },
  );

  async function send(id: string, number: number, stretches: readonly Stretch[]): Promise<UploadedPart> {
    // Such a part may be twice as large, but there may not be more memory than this at all.
    await memory.take(MIN_PART_BYTES);
    try {
      const pieces: Uint8Array[] = [];
      for (const stretch of stretches) {
        // Copied, because a piece is only valid until the next one.
        for await (const piece of readObject(bucket, stretch.name, stretch.start, stretch.end)) pieces.push(Uint8Array.from(piece));
      }
      return await bucket.uploadPart(name, id, number, Buffer.concat(pieces));
    } finally {
      memory.give(MIN_PART_BYTES);
    }
  }
}
