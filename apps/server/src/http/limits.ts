// How much runs at once, how much may wait for it, and who comes next: while others wait, each address has a share, and so have callers without
// an account; what is free anyone may have. Not here: the numbers (config.ts), who makes room (preemption.ts).
import { RegistryError } from "@berth/oci/errors";
import { findVictims, type Holding, type Party } from "./preemption.ts";

/** How places are given. */
export interface PlacesOptions {
  /** How much may be held at a time. */
  readonly limit: number;
  /** How many may wait; further ones are refused at once, or take the place of one whose address has more that wait. */
  readonly queueLimit: number;
  /** The longest wait. */
  readonly waitMs: number;
  /** What a refused one gets: TOOMANYREQUESTS (429) for a client's share, UNAVAILABLE (503) for the whole server's. */
  readonly code: "TOOMANYREQUESTS" | "UNAVAILABLE";
  /** What `retry-after` tells a refused client. */
  readonly retryAfterSeconds: number;
  /** How much of the limit callers without an account hold at most while others wait; all of it where this is not given. */
  readonly anonymousLimit?: number;
  /** How often those that hold places are looked at while somebody waits; `LOOK_EVERY_MS` where it is not given. */
  readonly lookEveryMs?: number;
}

/** Places that requests hold. Every successful `tryEnter` and `enter` needs one `leave`; one request enters the same places once at a time. */
export interface Places {
  /** Enters if there is room and nobody waits. `weight`: how much it takes of the limit, 1 where it is not given. */
  tryEnter(party: Party, weight?: number): boolean;
  /** Enters, in order. Errors: the places' code; the signal's reason when the client leaves first. */
  enter(party: Party, weight?: number, signal?: AbortSignal): Promise<void>;
  leave(party: Party): void;
  /** Nobody is known behind a request that seemed to come with credentials. */
  noteAnonymous(party: Party): void;
  /** How much is held, how many wait, how many were refused, and how many were broken off so far. */
  readonly active: number;
  readonly waiting: number;
  readonly refused: number;
  readonly brokenOff: number;
}

interface Waiter {
  readonly party: Party;
  readonly weight: number;
  readonly since: number;
  admit(): void;
  refuse(): void;
}

/** A holding, and where it is found again without a look-up: every request takes one and gives it back. */
interface Held extends Holding {
  readonly share: Share;
  /** Its index in the list of all. */
  at: number;
}

/** What one address holds and waits for. */
interface Share {
  held: number;
  /** In the order in which they came, with an account and without: a set forgets a waiter that gave up at once. */
  readonly known: Set<Waiter>;
  readonly anonymous: Set<Waiter>;
}

const LOOK_EVERY_MS = 250;
/** Addresses whose empty share is kept: the next request comes soon, and making a share takes longer than all else. */
const KEPT_SHARES = 256;

/** Makes places. Of those that wait, the address that holds least comes first, and of one address who came first. */
export function createPlaces(options: PlacesOptions): Places {
  const { limit, queueLimit, waitMs, code, retryAfterSeconds, anonymousLimit = limit, lookEveryMs = LOOK_EVERY_MS } = options;
  const shares = new Map<string, Share>();
  /** In no order. */
  const holdings: Held[] = [];
  let active = 0;
  let anonymousHeld = 0;
  let waiting = 0;
  let refused = 0;
  let brokenOff = 0;
  let looking: NodeJS.Timeout | undefined;

  const refusal = (): RegistryError => {
    refused++;
    return new RegistryError(code, { headers: { "retry-after": String(retryAfterSeconds) } });
  };

  function shareOf(source: string): Share {
    let share = shares.get(source);
    if (share === undefined) shares.set(source, (share = { held: 0, known: new Set(), anonymous: new Set() }));
    return share;
  }

  function take(party: Party, weight: number): void {
    active += weight;
    if (party.isAnonymous) anonymousHeld += weight;
    const share = shareOf(party.source);
    share.held += weight;
    const held: Held = { party, weight, limit: holdings, share, at: holdings.length, next: party.held };
    holdings.push(held);
    party.held = held;
  }

  /** Takes a request's holding of this limit off its chain; undefined where it holds nothing of it. */
  function takeOff(party: Party): Held | undefined {
    let before: Holding | undefined;
    let found = party.held;
    while (found !== undefined && found.limit !== holdings) {
      before = found;
      found = found.next;
    }
    if (found === undefined) return undefined;
    if (before === undefined) party.held = found.next;
    else before.next = found.next;
    return found as Held;
  }

  function tryEnter(party: Party, weight = 1): boolean {
    if (active + weight > limit || waiting > 0) return false;
    take(party, weight);
    return true;
  }

  function forgetIfEmpty(source: string, share: Share): void {
    if (shares.size > KEPT_SHARES && share.held === 0 && waitingOf(share) === 0) shares.delete(source);
  }

  /** Who comes next: undefined where nobody waits. */
  function next(): Waiter | undefined {
    const isAnonymousOver = anonymousHeld >= anonymousLimit;
    let best: Waiter | undefined;
    let bestHeld = Infinity;
    let isBestOver = true;
    for (const { held, known, anonymous } of shares.values()) {
      const knownWaiter = known.values().next().value;
      const anonymousWaiter = anonymous.values().next().value;
      const waiter = isAnonymousOver ? (knownWaiter ?? anonymousWaiter) : olderOf(knownWaiter, anonymousWaiter);
      if (waiter === undefined) continue;
      const isOver = isAnonymousOver && knownWaiter === undefined;
      const isBetter = isOver === isBestOver ? held < bestHeld || (held === bestHeld && waiter.since < best!.since) : isBestOver;
      if (best !== undefined && !isBetter) continue;
      best = waiter;
      bestHeld = held;
      isBestOver = isOver;
    }
    return best;
  }

  function admitWaiting(): void {
    while (waiting > 0 && active < limit) {
      const waiter = next()!;
      if (active + waiter.weight > limit) return;
      take(waiter.party, waiter.weight);
      waiter.admit();
    }
  }

  /** Refuses the newest of the address that has most waiting, if that is more than another has. */
  function isQueueMadeShorter(source: string): boolean {
    let most: Share | undefined;
    for (const share of shares.values()) if (waitingOf(share) > waitingOf(most)) most = share;
    if (most === undefined || waitingOf(most) <= waitingOf(shares.get(source)) + 1) return false;
    [...most.known, ...most.anonymous].at(-1)!.refuse();
    return true;
  }

  function wait(party: Party, weight: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const share = shareOf(party.source);
      const queue = party.isAnonymous ? share.anonymous : share.known;
      const leaveQueue = () => {
        queue.delete(waiter);
        waiting--;
        forgetIfEmpty(party.source, share);
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        if (waiting === 0) {
          clearInterval(looking);
          looking = undefined;
        }
      };
      const onAbort = () => {
        leaveQueue();
        reject(signal?.reason instanceof Error ? signal.reason : new Error("the client left"));
        // The next may want less than this one did.
        admitWaiting();
      };
      const refuse = () => {
        leaveQueue();
        reject(refusal());
        admitWaiting();
      };
      const timer = setTimeout(refuse, waitMs);
      const waiter: Waiter = {
        party,
        weight,
        since: performance.now(),
        admit: () => {
          leaveQueue();
          resolve();
        },
        refuse,
      };
      queue.add(waiter);
      waiting++;
      signal?.addEventListener("abort", onAbort);
      looking ??= setInterval(makeRoom, lookEveryMs);
    });
  }

  function makeRoom(): void {
    const inOrder = [...shares.values()]
      .toSorted((one, other) => one.held - other.held)
      .flatMap(({ known, anonymous }) => [...known, ...anonymous]);
    const present = [...shares].filter(([, share]) => share.held > 0 || waitingOf(share) > 0);
    const held = new Map(present.map(([source, share]) => [source, share.held]));
    for (const { party, reason } of findVictims(
      { limit, anonymousLimit, anonymousHeld, holdings, held, waiting: inOrder },
      performance.now(),
    )) {
      brokenOff++;
      party.transfer?.breakOff(reason);
    }
  }

  return {
    tryEnter,
    enter: async (party, weight = 1, signal) => {
      if (weight > limit) throw new Error(`asked for ${weight} of ${limit}`);
      signal?.throwIfAborted();
      if (tryEnter(party, weight)) return;
      if (waiting >= queueLimit && !isQueueMadeShorter(party.source)) throw refusal();
      await wait(party, weight, signal);
    },
    leave: (party) => {
      const held = takeOff(party);
      if (held === undefined) throw new Error("left more often than entered");
      const { weight, share } = held;
      const last = holdings.pop()!;
      if (last !== held) {
        holdings[held.at] = last;
        last.at = held.at;
      }
      active -= weight;
      if (party.isAnonymous) anonymousHeld -= weight;
      share.held -= weight;
      forgetIfEmpty(party.source, share);
      if (waiting > 0) admitWaiting();
    },
    noteAnonymous: (party) => {
      if (party.isAnonymous) return;
      party.isAnonymous = true;
      for (let held = party.held; held !== undefined; held = held.next) if (held.limit === holdings) anonymousHeld += held.weight;
    },
    get active() {
      return active;
    },
    get waiting() {
      return waiting;
    },
    get refused() {
      return refused;
    },
    get brokenOff() {
      return brokenOff;
    },
  };
}

function olderOf(one: Waiter | undefined, other: Waiter | undefined): Waiter | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return one.since <= other.since ? one : other;
}

function waitingOf(share: Share | undefined): number {
  return share === undefined ? 0 : share.known.size + share.anonymous.size;
}
