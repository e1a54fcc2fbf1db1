// The memory that all uploads of a process to an S3 service share, counted in bytes: who finds none waits, and stops reading from its client.
// Not here: the buffers themselves (s3-write.ts).
import { RegistryError } from "@berth/oci/errors";
import { createSemaphore, type Semaphore } from "../../platform/semaphore.ts";

/** Counts bytes. Errors of `take`: UNAVAILABLE after too long a wait. */
export type UploadMemory = Pick<Semaphore, "tryTake" | "take" | "give" | "taken">;

/** How much there is. */
export interface UploadMemoryOptions {
  /** At least as much as anybody will ask for at once. */
  readonly maxBytes: number;
  readonly waitMs: number;
}

/** Seconds after which a refused client may come again: the time that a few parts take. */
const RETRY_AFTER_SECONDS = "5";

/** Makes the count; first come, first served. */
export function createUploadMemory({ maxBytes, waitMs }: UploadMemoryOptions): UploadMemory {
  return createSemaphore({
    permits: maxBytes,
    waitMs,
    refusal: () =>
      new RegistryError("UNAVAILABLE", { headers: { "retry-after": RETRY_AFTER_SECONDS }, cause: new Error("no upload memory") }),
  });
}
