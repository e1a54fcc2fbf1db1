// The memory that all of a process's uploads to an S3 service share, counted in bytes: an upload that finds none waits, and stops reading
// from its client. Not here: the buffers themselves (s3-write.ts).
import { RegistryError } from "@berth/oci/errors";
import { createSemaphore, type Semaphore } from "../../platform/semaphore.ts";

/** Counts bytes. Errors of `take`: UNAVAILABLE after too long a wait. */
export type UploadMemory = Pick<Semaphore, "tryTake" | "take" | "give" | "taken">;

/** The limits of the memory. */
export interface UploadMemoryOptions {
  /** At least the most that one upload requests at once. */
  readonly maxBytes: number;
  readonly waitMs: number;
}

/** In seconds, the Retry-After of a refusal: the time that sending a few parts takes. */
const RETRY_AFTER_SECONDS = "5";

/** Creates the semaphore; first come, first served. */
export function createUploadMemory({ maxBytes, waitMs }: UploadMemoryOptions): UploadMemory {
  return createSemaphore({
    permits: maxBytes,
    waitMs,
    refusal: () =>
      new RegistryError("UNAVAILABLE", { headers: { "retry-after": RETRY_AFTER_SECONDS }, cause: new Error("no upload memory") }),
  });
}
