// The keys of issuers: those that an administrator gave, or those that the issuer publishes, fetched anew in time and when a token names one that
// is not known. They lie in the database, so that all replicas and the next start have them, and so that all together ask seldom.
// Not here: what a key set is (jwks.ts), tokens (id-tokens.ts). Source: OpenID Connect Discovery 1.0, section 4.
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../platform/clock.ts";
import { HOUR_MS, SECOND_MS } from "../platform/clock.ts";
import type { Database } from "../platform/database/database.ts";
import { claimKeyFetch, findIssuerById, putFetchedKeys, putKeyFailure, type Issuer, type PublicJwk } from "./issuer-store.ts";
import { canVerify, readJwks, UnusableKeys } from "./jwks.ts";

/** Fetches a JSON document from an address that somebody gave. Errors: whatever kept it from coming, in words. */
export type FetchJson = (url: string, limits: { readonly maxBytes: number; readonly timeoutMs: number }) => Promise<unknown>;

/** How old keys get before they are looked at again: keys that the issuer withdrew count no longer than that while it answers. */
const FRESH_MS = HOUR_MS;
/** How long keys count while the issuer is away. Then nothing of it counts: what it withdrew meanwhile is not known. */
export const KEPT_MS = 24 * HOUR_MS;
/** How often an issuer is asked at most, whatever tokens come: they are not verified yet. */
export const FETCH_GAP_MS = 30 * SECOND_MS;
/** For each of the two documents. */
const FETCH_TIMEOUT_MS = 5 * SECOND_MS;
/** How often is looked whether another replica has fetched them. */
const FETCH_LOOK_MS = 100;
/** Key sets with certificates in them have some 30 KB. */
const MAX_DOCUMENT_BYTES = 256 * 1024;
/** Of what is kept of a failure. */
const MAX_ERROR_LENGTH = 300;

/** The keys that may have made a signature. */
export interface FoundKeys {
  readonly keys: readonly PublicJwk[];
  /** Where there is none: whether that is since the issuer cannot be asked. */
  readonly isAway: boolean;
}

/** Finds keys. */
export interface IssuerKeys {
  /** Keys of the issuer for a signature; those that it publishes are fetched where that is due. */
  find(issuer: Issuer, algorithm: string, kid: string | undefined): Promise<FoundKeys>;
  /** Fetches them now, however long ago that was done. Gives the issuer with what came of it. */
  fetchNow(issuer: Issuer): Promise<Issuer | undefined>;
}

/** What it is made of. */
export interface IssuerKeysParts {
  readonly database: Database;
  readonly clock: Clock;
  readonly fetchJson: FetchJson;
  /** Told of each fetch. */
  readonly onFetch?: ((issuer: Issuer, failure: string | undefined) => void) | undefined;
}

/** Makes what finds keys. */
export function createIssuerKeys({ database, clock, fetchJson, onFetch }: IssuerKeysParts): IssuerKeys {
  const underWay = new Map<number, Promise<Issuer | undefined>>();

  /** Fetches, unless somebody did so a moment ago: gives what there is then. */
  function fetchOnce(issuer: Issuer, gapMs: number): Promise<Issuer | undefined> {
    let running = underWay.get(issuer.id);
    if (running === undefined) {
      running = fetchClaimed(issuer, gapMs).finally(() => underWay.delete(issuer.id));
      underWay.set(issuer.id, running);
    }
    return running;
  }

  async function fetchClaimed(issuer: Issuer, gapMs: number): Promise<Issuer | undefined> {
    const now = clock.now();
    if (await claimKeyFetch(database, issuer.id, now, now - gapMs)) {
      let failure: string | undefined;
      try {
        const keys = await fetchKeys(issuer.url, fetchJson);
        await putFetchedKeys(database, issuer.id, keys, clock.now());
      } catch (error) {
        failure = (error instanceof Error ? error.message : String(error)).replaceAll("\0", "").slice(0, MAX_ERROR_LENGTH);
        await putKeyFailure(database, issuer.id, failure);
      }
      onFetch?.(issuer, failure);
      return findIssuerById(database, issuer.id);
    }
    return untilFetched(issuer.id);
  }

  /** What there is once whoever has just begun to fetch, on another replica, is done. */
  async function untilFetched(id: number): Promise<Issuer | undefined> {
    const endsAt = performance.now() + 2 * FETCH_TIMEOUT_MS;
    for (;;) {
      const issuer = await findIssuerById(database, id);
      if (issuer === undefined || !isUnderWay(issuer) || performance.now() > endsAt) return issuer;
      await sleep(FETCH_LOOK_MS);
    }
  }

  /** Whether a fetch was begun that has come to nothing yet, and still may. */
  function isUnderWay({ keysTriedAt, keysAt, keysError }: Issuer): boolean {
    if (keysTriedAt === undefined || keysError !== undefined || clock.now() - keysTriedAt.getTime() > 2 * FETCH_TIMEOUT_MS) return false;
    return keysAt === undefined || keysAt < keysTriedAt;
  }

  function choose(issuer: Issuer | undefined, algorithm: string, kid: string | undefined): FoundKeys {
    if (issuer?.keys === undefined) return { keys: [], isAway: true };
    const ageMs = clock.now() - issuer.keysAt!.getTime();
    if (!issuer.hasGivenKeys && ageMs > KEPT_MS) return { keys: [], isAway: true };
    return { keys: issuer.keys.filter((jwk) => canVerify(jwk, algorithm, kid)), isAway: false };
  }

  return {
    async find(issuer, algorithm, kid) {
      const found = choose(issuer, algorithm, kid);
      if (issuer.hasGivenKeys) return found;
      if (found.keys.length === 0) return choose(await fetchOnce(issuer, FETCH_GAP_MS), algorithm, kid);
      // In good time, and nobody waits for it. What becomes of it stands with the issuer, and is told to `onFetch`.
      if (clock.now() - issuer.keysAt!.getTime() > FRESH_MS) {
        fetchOnce(issuer, FETCH_GAP_MS).catch((error: unknown) => onFetch?.(issuer, `the database: ${String(error)}`));
      }
      return found;
    },
    fetchNow: (issuer) => fetchOnce(issuer, 0),
  };
}

/** Where an issuer says what it has. */
export function discoveryUrl(issuerUrl: string): string {
  return `${issuerUrl.replace(/\/$/, "")}/.well-known/openid-configuration`;
}

async function fetchKeys(issuerUrl: string, fetchJson: FetchJson): Promise<PublicJwk[]> {
  const limits = { maxBytes: MAX_DOCUMENT_BYTES, timeoutMs: FETCH_TIMEOUT_MS };
  const found = (await fetchJson(discoveryUrl(issuerUrl), limits)) as { issuer?: unknown; jwks_uri?: unknown } | null;
  // Another issuer's document, at an address that somebody mistook, would let that one speak for this one.
  if (found?.issuer !== issuerUrl)
    throw new Error(`what is published there is another issuer's: ${JSON.stringify(found?.issuer)?.slice(0, 100)}`);
  const address = typeof found.jwks_uri === "string" ? URL.parse(found.jwks_uri) : null;
  if (address === null) throw new Error("what is published there names no address of keys (jwks_uri)");
  // Keys that come in the clear are anybody's.
  if (address.protocol !== "https:" && !(address.protocol === "http:" && issuerUrl.startsWith("http:"))) {
    throw new Error("its keys are published without TLS");
  }
  try {
    return readJwks(await fetchJson(address.href, limits));
  } catch (error) {
    throw error instanceof UnusableKeys ? new Error(`its key set cannot be used: ${error.message}`) : error;
  }
}

/** How an issuer's keys stand: there, there but older than they should be, or not there as far as anything counts. */
export function keysState({ keys, keysAt, hasGivenKeys }: Issuer, now: number): "ready" | "aging" | "missing" {
  if (keys === undefined) return "missing";
  if (hasGivenKeys) return "ready";
  const ageMs = now - keysAt!.getTime();
  // Fetched when the next token comes: an issuer of which none came is not away.
  return ageMs > KEPT_MS ? "missing" : ageMs > 2 * FRESH_MS ? "aging" : "ready";
}
