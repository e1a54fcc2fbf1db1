// A directory that does not answer is left alone for a while, so that nobody waits for it again and again; behind the rest one asks whether it is
// back. Not here: its servers and connections (ldap-servers.ts).
import type { Clock } from "../clock.ts";
import { LdapError } from "./ldap-errors.ts";

/** What lets questions through, or not. */
export interface LdapBreaker {
  /** Does work unless the directory is left alone now. `isOutage`: whether an error of the work speaks of the directory. Errors: `LdapError`. */
  run<T>(work: () => Promise<T>, isOutage: (error: LdapError) => boolean): Promise<T>;
  isResting(): boolean;
  close(): void;
}

interface BreakerParts {
  readonly clock: Clock;
  /** Called when the directory ceases to answer, and when it answers again. */
  readonly onState: ((failure: LdapError | undefined) => void) | undefined;
  /** Asks something, by `run`. */
  readonly probe: () => Promise<unknown>;
}

/** How long a directory is left alone after it did not answer, and at most: each failure doubles it. */
const FIRST_REST_MS = 2_000;
const MAX_REST_MS = 30_000;
/** The same where somebody has to change something: a wrong password of the account that searches would lock it, tried too often. */
const MISCONFIGURED_REST_MS = 60_000;

/** Who signs in right behind the rest asks first. */
const PROBE_LATER_MS = 100;

/** Creates it. */
export function createLdapBreaker({ clock, onState, probe }: BreakerParts): LdapBreaker {
  let isClosed = false;
  let failures = 0;
  let restsUntil = 0;
  let isProbed = false;
  let last: LdapError | undefined;
  let timer: NodeJS.Timeout | undefined;

  // An end that is further away than any rest lasts was written before the clock was set back.
  const isResting = (): boolean => failures > 0 && restsUntil > clock.now() && restsUntil - clock.now() <= MISCONFIGURED_REST_MS;

  /** Asks by itself, so that it is known when the directory is back although nobody signs in. */
  function probeAfter(ms: number): void {
    clearTimeout(timer);
    if (isClosed) return;
    timer = setTimeout(() => {
      // Its errors are those that `run` notes.
      if (failures > 0) probe().catch(() => undefined);
    }, ms + PROBE_LATER_MS).unref();
  }

  function noteFailure(error: LdapError, isProbe: boolean): void {
    const isNew = failures === 0;
    // Those that were under way at the time say nothing new.
    if (isProbe || isNew) failures++;
    const restMs =
      error.problem === "away" ? Math.min(MAX_REST_MS, FIRST_REST_MS * 2 ** Math.min(failures - 1, 10)) : MISCONFIGURED_REST_MS;
    restsUntil = clock.now() + restMs;
    last = error;
    probeAfter(restMs);
    if (isNew) onState?.(error);
  }

  return {
    async run(work, isOutage) {
      if (isClosed) throw new LdapError("away", "the server is stopping");
      const isProbe = failures > 0;
      if (isProbe) {
        if (isResting() || isProbed) throw new LdapError(last!.problem, last!.message, { cause: last });
        isProbed = true;
      }
      try {
        const result = await work();
        if (failures > 0) onState?.(undefined);
        failures = 0;
        return result;
      } catch (error) {
        if (error instanceof LdapError && isOutage(error)) noteFailure(error, isProbe);
        throw error;
      } finally {
        if (isProbe) isProbed = false;
      }
    },
    isResting,
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}
