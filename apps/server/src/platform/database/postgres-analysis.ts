// Analytical statements (`Effort`) on PostgreSQL: the planner may use scans that are forbidden to requests, the timeout is longer, and few
// run at a time, so that connections are left for requests. Not here: which statements they are (each says so itself), connections.
import { RegistryError } from "@berth/oci/errors";
import type pg from "pg";
import { createSemaphore } from "../semaphore.ts";
import type { Statement } from "./statement.ts";

/** Runs one statement on a connection. */
export type Query = (config: pg.QueryConfig) => Promise<pg.QueryResult>;

/** An analysis of a large registry takes minutes. */
const ANALYSIS_TIMEOUT_MS = 15 * 60_000;
const METHODS = ["enable_seqscan", "enable_hashjoin", "enable_mergejoin"];
const set = (value: "on" | "off", timeoutMs: number): string =>
  [...METHODS.map((name) => `set local ${name} = ${value}`), `set local statement_timeout = ${timeoutMs}`].join("; ");
const BEGIN = `begin read only; ${set("on", ANALYSIS_TIMEOUT_MS)}`;

/** Whether a statement reads as much as there is. */
export function isAnalytical({ effort }: Statement<never, unknown>): boolean {
  return effort !== undefined && "analytical" in effort;
}

/** The query has no name, because a prepared statement keeps its plan, and no client-side timeout: the server's applies. */
const plain = ({ text, values }: pg.QueryConfig): pg.QueryConfig =>
  ({ text, values, query_timeout: ANALYSIS_TIMEOUT_MS + 5_000 }) as pg.QueryConfig;

/** Runs them inside a transaction, whose other statements are planned as usual. */
export function analyseIn(client: pg.ClientBase, usualTimeoutMs: number): Query {
  return async (config) => {
    await client.query(set("on", ANALYSIS_TIMEOUT_MS));
    const result = await client.query(plain(config));
    await client.query(set("off", usualTimeoutMs));
    return result;
  };
}

/** Runs them in transactions of their own, a limited number at a time. Errors: UNAVAILABLE if too many wait. */
export function analyseApart(
  withClient: (work: (client: pg.ClientBase) => Promise<pg.QueryResult>) => Promise<pg.QueryResult>,
  atOnce: number,
): Query {
  const turns = createSemaphore({
    permits: atOnce,
    maxWaiting: MAX_WAITING,
    refusal: () => new RegistryError("UNAVAILABLE", { headers: { "retry-after": "60" } }),
  });
  return (config) =>
    turns.run(() =>
      withClient(async (client) => {
        await client.query(BEGIN);
        const result = await client.query(plain(config));
        await client.query("commit");
        return result;
      }),
    );
}

/** More than the commands and a page of statistics ever request at once. */
const MAX_WAITING = 16;
