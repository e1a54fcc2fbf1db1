// The servers of one directory: asked in order, a few connections at a time, those for searches kept open. A directory that does not answer is
// left alone for a while, so that nobody waits for it again and again. Not here: what is said to it (ldap-connection.ts), what for.
import type { LookupFunction } from "node:net";
import type { Clock } from "../clock.ts";
import { createSemaphore } from "../semaphore.ts";
import { createLdapBreaker } from "./ldap-breaker.ts";
import { type BindResult, type LdapConnection, openLdapConnection } from "./ldap-connection.ts";
import { LdapError } from "./ldap-errors.ts";
import { type LdapAddress, openLdapSocket } from "./ldap-socket.ts";

/** How a directory is reached. */
export interface LdapServersOptions {
  /** In the order in which they are asked. */
  readonly addresses: readonly LdapAddress[];
  /** PEM of the authorities that are believed; undefined: the system's. */
  readonly ca: readonly string[] | undefined;
  /** Who searches. Undefined: searches are anonymous. */
  readonly searcher: { readonly dn: string; readonly password: string } | undefined;
  readonly connectTimeoutMs: number;
  readonly answerTimeoutMs: number;
  /** Connections for searches, and as many for passwords, at once. */
  readonly connections: number;
  readonly clock: Clock;
  readonly lookup?: LookupFunction;
  /** Called when the directory ceases to answer, and when it answers again. */
  readonly onState?: (failure: LdapError | undefined) => void;
  /** Called with how long a question took, and whether it was answered. Those that were not asked are not told. */
  readonly onAsked?: (kind: "search" | "password", seconds: number, isAnswered: boolean) => void;
}

/** A directory's servers. */
export interface LdapServers {
  /** Searches. What failed on a connection that had been waiting is tried once more. Errors: `LdapError`. */
  search<T>(work: (connection: LdapConnection) => Promise<T>): Promise<T>;
  /** Tries a password on a connection of its own, once: a second try would count as one towards a lock. Errors: `LdapError`. */
  tryPassword(dn: string, password: string): Promise<BindResult>;
  /** Whether it is left alone now, since it did not answer. */
  isResting(): boolean;
  close(): void;
}

/** Who waits for a connection: as many as a burst of logins, and no more than can be served in a few seconds. */
const MAX_WAITING = 64;
/** How long a server that did not answer is asked after all others. */
const ASKED_LAST_MS = 30_000;
/** Directories close what is silent for some minutes; what is older is not used. */
const IDLE_MS = 60_000;

/** Creates them; nothing is connected to before something is asked. */
export function createLdapServers(options: LdapServersOptions): LdapServers {
  const { addresses, ca, searcher, connectTimeoutMs, answerTimeoutMs, connections, clock, lookup, onState, onAsked } = options;
  // One for all: it says nothing of the directory.
  const tooMany = new LdapError("away", "too many sign-ins wait for the directory");
  const waitMs = connectTimeoutMs + answerTimeoutMs;
  const places = { permits: connections, maxWaiting: MAX_WAITING, waitMs, refusal: () => tooMany };
  const searches = createSemaphore(places);
  const passwords = createSemaphore(places);
  const idle: { readonly connection: LdapConnection; readonly since: number }[] = [];
  let isClosed = false;
  /** Until when a server is asked after all others. */
  const awayUntil = new Map<LdapAddress, number>();

  /** Does work on a connection, and tells how long it took. */
  async function timed<T>(kind: "search" | "password", work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    let isAnswered = false;
    try {
      const result = await work();
      isAnswered = true;
      return result;
    } finally {
      onAsked?.(kind, (performance.now() - startedAt) / 1000, isAnswered);
    }
  }

  /** Connects to the first server that answers. */
  async function connect(): Promise<LdapConnection> {
    const now = clock.now();
    const isAway = (address: LdapAddress): boolean => (awayUntil.get(address) ?? 0) > now;
    const order = [...addresses.filter((address) => !isAway(address)), ...addresses.filter(isAway)];
    let failure: LdapError | undefined;
    for (const address of order) {
      try {
        const connection = await connectTo(address);
        awayUntil.delete(address);
        return connection;
      } catch (error) {
        if (!(error instanceof LdapError)) throw error;
        awayUntil.set(address, clock.now() + ASKED_LAST_MS);
        failure = failure === undefined ? error : new LdapError(error.problem, `${failure.message}; ${error.message}`, { cause: error });
      }
    }
    throw failure ?? new LdapError("misconfigured", "the directory has no address");
  }

  async function connectTo(address: LdapAddress): Promise<LdapConnection> {
    const socket = await openLdapSocket(address, { ca, lookup, timeoutMs: connectTimeoutMs });
    return openLdapConnection(socket, address.url, answerTimeoutMs);
  }

  /** Connects as who searches. */
  async function connectToSearch(): Promise<LdapConnection> {
    const connection = await connect();
    if (searcher === undefined) return connection;
    try {
      const bound = await connection.bind(searcher.dn, searcher.password);
      if (!bound.isRight) {
        const { resultCode, detail } = bound;
        throw new LdapError("misconfigured", `the directory refuses the account that searches (result code ${resultCode}: ${detail})`, {
          resultCode,
        });
      }
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  function takeIdle(): LdapConnection | undefined {
    const now = clock.now();
    for (;;) {
      const found = idle.pop();
      if (found === undefined) return undefined;
      if (found.connection.isOpen && now >= found.since && now - found.since < IDLE_MS) return found.connection;
      found.connection.close();
    }
  }

  async function searchOn<T>(connection: LdapConnection, work: (connection: LdapConnection) => Promise<T>): Promise<T> {
    try {
      const result = await work(connection);
      if (isClosed || !connection.isOpen) connection.close();
      else idle.push({ connection, since: clock.now() });
      return result;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Searches on a connection that is there, or on a new one. */
  async function searchAnywhere<T>(work: (connection: LdapConnection) => Promise<T>): Promise<T> {
    const kept = takeIdle();
    if (kept !== undefined) {
      const startedAt = performance.now();
      try {
        return await searchOn(kept, work);
      } catch (error) {
        // The server may have closed it meanwhile. One that is silent is silent on the next connection too.
        const isSilent = performance.now() - startedAt >= answerTimeoutMs;
        if (!(error instanceof LdapError) || error.problem !== "away" || isSilent) throw error;
        // What others wait for is no newer.
        for (const { connection } of idle.splice(0)) connection.close();
      }
    }
    return searchOn(await connectToSearch(), work);
  }

  async function bindOnce(dn: string, password: string): Promise<BindResult> {
    const connection = await connect();
    try {
      return await connection.bind(dn, password);
    } finally {
      connection.close();
    }
  }

  // Also where the account that searches is refused: each further try would count towards its lock.
  const always = (error: LdapError): boolean => error !== tooMany;
  // What a directory answers for one person says nothing of the others.
  const ifSilent = (error: LdapError): boolean => error.resultCode === undefined && error !== tooMany;
  const breaker = createLdapBreaker({ clock, onState, probe: () => search(async () => undefined) });
  const search: LdapServers["search"] = (work) =>
    breaker.run(() => searches.run(() => timed("search", () => searchAnywhere(work))), always);
  return {
    search,
    tryPassword: (dn, password) => breaker.run(() => passwords.run(() => timed("password", () => bindOnce(dn, password))), ifSilent),
    isResting: breaker.isResting,
    close() {
      isClosed = true;
      breaker.close();
      for (const { connection } of idle.splice(0)) connection.close();
    },
  };
}
