// Chooses the requests that are broken off so that others get a place. Pure. The first choice is a slow client, of the address that holds
// most. For a request that has waited for a while, the second choice is the slowest client of an address that holds more than its share, or
// of callers without an account where these hold more than theirs. Not here: when it is called (limits.ts), how slow a client is
// (transfer-rate.ts).
import type { BreakReason, Transfer } from "./transfer-rate.ts";

/** A request as the limits see it. */
export interface Party {
  /** What its share is counted under: an address, or the network of one customer. */
  readonly source: string;
  /** Whether its caller has no account. */
  isAnonymous: boolean;
  /** The rate of its client; undefined while the server is not waiting for the client. */
  transfer: Transfer | undefined;
  /** The first of a chain of its holdings; only the limits read and write it. */
  held?: Holding | undefined;
}

/** The part of one limit that one request holds. */
export interface Holding {
  readonly party: Party;
  readonly weight: number;
  /** The limit that it belongs to. */
  readonly limit: unknown;
  /** The same request's holding of another limit. */
  next: Holding | undefined;
}

/** The requests that hold places and those that wait. */
export interface Crowd {
  readonly limit: number;
  /** The most that callers without an account may hold while others wait. */
  readonly anonymousLimit: number;
  readonly anonymousHeld: number;
  readonly holdings: readonly Pick<Holding, "party" | "weight">[];
  /** How much each source holds; sources that only wait are listed with 0. */
  readonly held: ReadonlyMap<string, number>;
  /** In the order in which they get places. */
  readonly waiting: readonly { readonly party: Party; readonly since: number }[];
}

/** A request that is to be broken off. */
export interface Victim {
  readonly party: Party;
  readonly reason: BreakReason;
}

/** How long others must have waited before a client that is not slow is broken off: most places are returned far sooner. */
export const SHARE_WAIT_MS = 1_000;
/** The most victims of one check: the next check comes soon, and sees the room that these made. */
const MAX_VICTIMS = 64;

/** Finds the victims, at most one for each waiter. */
export function findVictims({ limit, anonymousLimit, anonymousHeld, holdings, held, waiting }: Crowd, now: number): readonly Victim[] {
  const left = new Map(held);
  let anonymousLeft = anonymousHeld;
  const heldBy = (party: Party): number => left.get(party.source) ?? 0;
  const fairShare = Math.max(1, limit / Math.max(1, held.size));
  const candidates = holdings
    .filter(({ party: { transfer } }) => transfer?.waitsSince !== undefined)
    .map(({ party, weight }) => ({ party, weight, isUpload: party.transfer!.kind === "upload", rate: party.transfer!.rate(now) }))
    // A download can be resumed by range, while a partly pushed chunk is lost: downloads are broken off first.
    .toSorted(
      (one, other) => heldBy(other.party) - heldBy(one.party) || Number(one.isUpload) - Number(other.isUpload) || one.rate - other.rate,
    );
  const victims: Victim[] = [];
  for (const { party: waiter, since } of waiting.slice(0, MAX_VICTIMS)) {
    let reason: BreakReason = "slow";
    let index = candidates.findIndex(({ party }) => party.transfer!.isTooSlow(now));
    if (index === -1 && now - since >= SHARE_WAIT_MS) {
      reason = "share";
      index = candidates.findIndex(({ party, weight }) => {
        if (!waiter.isAnonymous && party.isAnonymous && anonymousLeft > anonymousLimit) return true;
        return heldBy(party) > fairShare && heldBy(party) - weight >= heldBy(waiter);
      });
    }
    if (index === -1) continue;
    const [{ party, weight }] = candidates.splice(index, 1) as [(typeof candidates)[number]];
    left.set(party.source, heldBy(party) - weight);
    left.set(waiter.source, heldBy(waiter) + weight);
    if (party.isAnonymous) anonymousLeft -= weight;
    victims.push({ party, reason });
  }
  return victims;
}
