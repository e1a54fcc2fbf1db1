// The memory that all uploads of a process to an S3 service share, counted in bytes: who finds none waits, and stops reading from its client.
// Not here: the buffers themselves (s3-write.ts).
import { RegistryError } from "@berth/oci/errors";

/** Counts bytes. Everything taken must be given back. */
export interface UploadMemory {
  /** Takes so much if it is free and nobody waits. */
  tryTake(bytes: number): boolean;
  /** Takes so much, in order. Errors: UNAVAILABLE after too long a wait. */
  take(bytes: number): Promise<void>;
  give(bytes: number): void;
  /** What is taken now. */
  readonly takenBytes: number;
}

/** How much there is. */
export interface UploadMemoryOptions {
  /** At least as much as anybody will ask for at once. */
  readonly maxBytes: number;
  readonly waitMs: number;
}

interface Waiter {
  readonly bytes: number;
  admit(): void;
}

/** Seconds after which a refused client may come again: the time that a few parts take. */
const RETRY_AFTER_SECONDS = "5";

/** Makes the count; first come, first served. */
export function createUploadMemory({ maxBytes, waitMs }: UploadMemoryOptions): UploadMemory {
  const queue = new Set<Waiter>();
  let taken = 0;

  function tryTake(bytes: number): boolean {
    if (queue.size > 0 || taken + bytes > maxBytes) return false;
    taken += bytes;
    return true;
  }

  function wait(bytes: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        bytes,
        admit() {
          clearTimeout(timer);
          queue.delete(waiter);
          taken += bytes;
          resolve();
        },
      };
      const timer = setTimeout(() => {
        queue.delete(waiter);
        reject(new RegistryError("UNAVAILABLE", { headers: { "retry-after": RETRY_AFTER_SECONDS }, cause: new Error("no upload memory") }));
        // The next may want less than this one did.
        admitWaiting();
      }, waitMs);
      queue.add(waiter);
    });
  }

  function admitWaiting(): void {
    for (const waiter of queue) {
      if (taken + waiter.bytes > maxBytes) return;
      waiter.admit();
    }
  }

  return {
    tryTake,
    async take(bytes) {
      if (bytes > maxBytes) throw new Error(`asked for ${bytes} bytes of ${maxBytes}`);
      if (!tryTake(bytes)) await wait(bytes);
    },
    give(bytes) {
      taken -= bytes;
      if (taken < 0) throw new Error("more was given back than taken");
      admitWaiting();
    },
    get takenBytes() {
      return taken;
    },
  };
}
