// The loop by which a process puts on record what its transactions did, a quarter of a second later, and now and then what a process left that is gone.
// Not here: putting on record (audit-sealing.ts).
import { createBackgroundLoop } from "../../platform/background-loop.ts";
import { SECOND_MS } from "../../platform/clock.ts";
import type { AuditSealer } from "./audit-sealing.ts";

/** Long enough that a busy registry seals hundreds together, short enough that nobody waits for what he just did. */
const SEAL_EVERY_MS = 250;
/** How often it looks though this process recorded nothing: a command may have, or a process that was killed. */
const LOOK_EVERY_MS = 5 * SECOND_MS;
const MAX_REST_MS = 60 * SECOND_MS;

/** Runs until it is stopped. */
export interface AuditLoop {
  /** Something was recorded, and is to be sealed soon. */
  wake(): void;
  start(): void;
  /** Ends, with everything sealed that this process recorded, where the database takes it. */
  stop(): Promise<void>;
}

/** Makes the loop. `onError`: nothing could be sealed now; it is tried again. */
export function createAuditLoop(sealer: Pick<AuditSealer, "seal">, onError: (error: unknown) => void): AuditLoop {
  let isWoken = true;
  let lookedAt = -Infinity;

  async function sealAll(): Promise<void> {
    isWoken = false;
    while (await sealer.seal());
  }

  async function sealIfNeeded(): Promise<void> {
    if (!isWoken && performance.now() - lookedAt < LOOK_EVERY_MS) return;
    lookedAt = performance.now();
    try {
      await sealAll();
    } catch (error) {
      isWoken = true;
      throw error;
    }
  }

  const loop = createBackgroundLoop(sealIfNeeded, { everyMs: SEAL_EVERY_MS, maxRestMs: MAX_REST_MS }, onError);

  return {
    wake() {
      isWoken = true;
    },
    start: loop.start,
    async stop() {
      await loop.stop();
      await sealAll().catch(onError);
    },
  };
}
