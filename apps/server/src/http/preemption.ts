// Who is broken off so that others get a place: pure. First who is too slow, of the address that holds most; then, for who has waited a while,
// the slowest of an address that holds more than its share, or of callers without an account where these hold more than theirs. Not here: when
// it is asked (limits.ts), how slow a client is (transfer-rate.ts).
import type { BreakReason, Transfer } from "./transfer-rate.ts";

/** A request as the limits see it. */
export interface Party {
  /** Whose share it counts to: an address, or the network of one customer. */
  readonly source: string;
  /** Nobody is known behind it. */
  isAnonymous: boolean;
  /** How its client comes along; undefined while it is not the client that is waited for. */
  transfer: Transfer | undefined;
  /** What it holds, a chain: written and read by the limits alone. */
  held?: Holding | undefined;
}

/** So much of one limit, in the hands of one request. */
export interface Holding {
  readonly party: Party;
  readonly weight: number;
  /** Which limit it is of. */
  readonly limit: unknown;
  /** What the same request holds of another one. */
  next: Holding | undefined;
}

/** Those who hold places and those who wait. */
export interface Crowd {
  readonly limit: number;
  /** What callers without an account hold at most while others wait. */
  readonly anonymousLimit: number;
  readonly anonymousHeld: number;
  readonly holdings: readonly Pick<Holding, "party" | "weight">[];
  /** How much each source holds; those that only wait are here with 0. */
  readonly held: ReadonlyMap<string, number>;
  /** In the order in which they will get places. */
  readonly waiting: readonly { readonly party: Party; readonly since: number }[];
}

/** Who is to be broken off. */
export interface Victim {
  readonly party: Party;
  readonly reason: BreakReason;
}

/** How long others have to have waited before a client is broken off that is not slow: most places are given back far sooner. */
export const SHARE_WAIT_MS = 1_000;
/** Most victims of one look: the next one comes soon, and sees what these made. */
const MAX_VICTIMS = 64;

/** Finds the victims: at most one for each that waits. */
export function findVictims({ limit, anonymousLimit, anonymousHeld, holdings, held, waiting }: Crowd, now: number): readonly Victim[] {
  const left = new Map(held);
  let anonymousLeft = anonymousHeld;
  const heldBy = (party: Party): number => left.get(party.source) ?? 0;
  const fairShare = Math.max(1, limit / Math.max(1, held.size));
  const candidates = holdings
    .filter(({ party: { transfer } }) => transfer?.waitsSince !== undefined)
    .map(({ party, weight }) => ({ party, weight, isUpload: party.transfer!.kind === "upload", rate: party.transfer!.rate(now) }))
    // A download can be gone on with by range; what was pushed of a chunk is lost.
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
