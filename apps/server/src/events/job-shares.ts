// Which kinds of jobs this process takes none of for a while, since it did enough of their share. Not here: who takes jobs (job-runner.ts).
import type { JobKind } from "./job-kinds.ts";

/** The rests of this process. */
export interface JobShares {
  /** Lets a kind's share rest for so long. */
  rest(kind: JobKind, ms: number): void;
  isResting(kind: JobKind): boolean;
  /** Ms until the first share may be taken of again; `Infinity` where none rests. */
  untilNext(): number;
}

/** Begins with nothing at rest. */
export function createJobShares(): JobShares {
  const until = new Map<string, number>();
  const restOf = (share: string): number => (until.get(share) ?? 0) - performance.now();
  return {
    rest({ share }, ms) {
      if (share !== undefined && ms > 0) until.set(share, performance.now() + ms);
    },
    isResting: ({ share }) => share !== undefined && restOf(share) > 0,
    untilNext: () => Math.min(Infinity, ...[...until.keys()].map(restOf).filter((ms) => ms > 0)),
  };
}
