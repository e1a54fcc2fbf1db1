// Limits on what runs at once, the queue in front of each limit, and the order in which waiters are admitted: while requests wait, each
// address has a share, and so have callers without an account together; while none wait, anyone may use what is free. Not here: the numbers
// (config.ts), making room (preemption.ts).
import { RegistryError } from "@berth/oci/errors";
import { findVictims, type Holding, type Party } from "./preemption.ts";

/** The limits and the refusal. */
export interface PlacesOptions {
  /** How much may be held at once. */
  readonly limit: number;
  /** How many may wait. Further ones are refused at once, or replace a waiter of an address that has more of them. */
  readonly queueLimit: number;
  /** The longest wait. */
  readonly waitMs: number;
  /** The code of the refusal: TOOMANYREQUESTS (429) for a client's share, UNAVAILABLE (503) for the whole server's. */
  readonly code: "TOOMANYREQUESTS" | "UNAVAILABLE";
  /** The `retry-after` of a refusal. */
  readonly retryAfterSeconds: number;
  /** The most that callers without an account hold together while others wait; the whole limit if it is not given. */
  readonly anonymousLimit?: number;
  /** How often holders are checked for slow ones while requests wait; `LOOK_EVERY_MS` if it is not given. */
  readonly lookEveryMs?: number;
}

/**
 * Places that requests hold. Every successful `tryEnter` and `enter` needs one `leave`; a request may hold the same places only once at a
 * time.
 */
export interface Places {
  /** Enters if there is room and nobody waits. `weight` is the amount it takes of the limit, 1 if it is not given. */
  tryEnter(party: Party, weight?: number): boolean;
  /** Enters, in the queue's order. Errors: the places' code; the signal's reason when the client leaves first. */
  enter(party: Party, weight?: number, signal?: AbortSignal): Promise<void>;
  leave(party: Party): void;
  /** Counts a request as anonymous whose credentials turned out to belong to nobody. */
  noteAnonymous(party: Party): void;
  /** The amount held, the number that wait, and the totals of refused and broken-off requests. */
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

/** A holding with its position, so that it is found without a look-up: every request takes one and returns it. */
interface Held extends Holding {
  readonly share: Share;
  /** Its index in the list of all. */
  at: number;
}

/** The places of one address and its waiters. */
interface Share {
  held: number;
  /** In order of arrival, with and without an account. A set removes a waiter that gave up in constant time. */
  readonly known: Set<Waiter>;
  readonly anonymous: Set<Waiter>;
}

const LOOK_EVERY_MS = 250;
/** The number of addresses whose empty share is kept: their next request comes soon, and creating a share is the most expensive step. */
const KEPT_SHARES = 256;

/** Creates places. Of the waiters, the address that holds least comes first, and within an address the oldest. */
export function createPlaces(options: PlacesOptions): Places {
  const { limit, queueLimit, waitMs, code, retryAfterSeconds, anonymousLimit = limit, lookEveryMs = LOOK_EVERY_MS } = options;
  const shares = new Map<string, Share>();
  /** Unordered. */
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

  /** Unlinks a request's holding of this limit; undefined if it has none. */
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

  /** The waiter that is admitted next; undefined if none waits. */
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

  /** Refuses the newest waiter of the address that has the most, if another address has fewer. */
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
        // The next waiter may need less than this one did.
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
