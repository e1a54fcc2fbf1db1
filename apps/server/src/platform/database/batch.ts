// Batches look-ups: on PostgreSQL, where each query is a round trip, look-ups that arrive together share one. On SQLite each is a direct
// call, whose answer is cached as long as reads share a snapshot.
// Not here: the statements and what they find (the stores), connections (postgres.ts).
import type { Tracing, TraceScope } from "../tracing.ts";
import type { Database } from "./database.ts";
import type { ParameterValue, Statement } from "./statement.ts";

type Row = Readonly<Record<string, ParameterValue>>;

/** One look-up as two statements that find the same rows: for one key, and for many at once. */
export interface LookUpParts<K extends Row, M extends Row, R, N extends R, T> {
  readonly one: Statement<K, R>;
  readonly many: Statement<M, N>;
  /** Parameters of `many`; the keys are all different. */
  manyOf(keys: readonly K[]): M;
  /** A distinct text for each key, equal to `idOfRow` of the row that it finds. */
  idOfKey(key: K): string;
  idOfRow(row: N): string;
  /** The value for a row; several callers may get the same object. */
  toValue(row: R): T;
}

/**
 * Finds the value of a key as it is at the time of the call or later; synchronously if it is cached. Undefined if there is none.
 * Errors: those of `Database.first`.
 */
export type LookUp<K, T> = (key: K) => T | undefined | Promise<T | undefined>;

/** The values that each look-up caches for one snapshot, of some 300 bytes each. */
const MAX_KEPT = 2048;

/** Creates a look-up. Keys must come from parsers: a key that the database refuses fails all others of its batch. */
export function createLookUp<K extends Row, M extends Row, R, N extends R, T>(
  database: Database,
  parts: LookUpParts<K, M, R, N, T>,
): LookUp<K, T> {
  const { one, many, manyOf, idOfKey, idOfRow, toValue } = parts;
  const loadOne = async (key: K): Promise<T | undefined> => {
    const row = await database.first(one, key);
    return row === undefined ? undefined : toValue(row);
  };
  if (database.snapshotNumber !== undefined) return keepForSnapshot(database.snapshotNumber, idOfKey, loadOne);
  async function load(keys: readonly K[]): Promise<ReadonlyMap<string, T>> {
    // A single key uses the plain statement, which costs the database less.
    if (keys.length === 1) {
      const value = await loadOne(keys[0]!);
      return new Map(value === undefined ? [] : [[idOfKey(keys[0]!), value]]);
    }
    return new Map((await database.all(many, manyOf(keys))).map((row) => [idOfRow(row), toValue(row)]));
  }
  const { tracing } = database;
  if (tracing === undefined) return createBatch<K, T>({ idOf: idOfKey, load });
  return traceBatch(tracing, one.compiled(database.dialect).id, idOfKey, load);
}

/** Caches answers for one snapshot: a statement would find the same. */
function keepForSnapshot<K, T>(
  snapshotNumber: () => number,
  idOf: (key: K) => string,
  load: (key: K) => Promise<T | undefined>,
): LookUp<K, T> {
  const kept = new Map<string, T>();
  let keptOf = snapshotNumber();
  async function loadAndKeep(key: K, id: string): Promise<T | undefined> {
    const loading = load(key);
    // The statement has run; a commit before the next line but one makes its result outdated.
    const readAt = snapshotNumber();
    const value = await loading;
    if (value === undefined || readAt !== keptOf || readAt !== snapshotNumber()) return value;
    if (kept.size >= MAX_KEPT) kept.clear();
    kept.set(id, value);
    return value;
  }
  return (key) => {
    const present = snapshotNumber();
    if (present !== keptOf) {
      if (kept.size > 0) kept.clear();
      keptOf = present;
    }
    const id = idOf(key);
    return kept.get(id) ?? loadAndKeep(key, id);
  };
}

/** Each caller gets a span for its wait; the shared query appears below the first of them that is recorded. */
function traceBatch<K, T>(
  tracing: Tracing,
  name: string,
  idOf: (key: K) => string,
  load: (keys: readonly K[]) => Promise<ReadonlyMap<string, T>>,
): LookUp<K, T> {
  const batch = createBatch<{ readonly key: K; readonly scope: TraceScope | undefined }, T>({
    idOf: ({ key }) => idOf(key),
    load: (waiting) => {
      const kept = waiting.flatMap(({ scope }) => (scope?.isRecording === true ? [scope] : []));
      for (const scope of kept) scope.setAttributes({ "berth.look_up.shared_by": waiting.length });
      return tracing.within(kept[0], () => load(waiting.map(({ key }) => key)));
    },
  });
  return (key) => tracing.span(`look up ${name}`, "internal", {}, () => batch({ key, scope: tracing.scope() }));
}

/** How keys are loaded. */
export interface BatchOptions<K, T> {
  /** Keys with the same id are one look-up. */
  idOf(key: K): string;
  /** Sends one query; returns the answers by the keys' ids. */
  load(keys: readonly K[]): Promise<ReadonlyMap<string, T>>;
}

/** The most keys of one query: few enough that none waits long for the others. */
const MAX_KEYS = 256;
/** Queries in flight: with two, one that is slow or waits for a lost server does not stop the rest. */
const MAX_RUNNING = 2;

interface Waiting<K, T> {
  readonly key: K;
  readonly answer: PromiseWithResolvers<T | undefined>;
}

/**
 * Collects keys until the present turn of the event loop ends and a query may be sent, and answers them all with it. A key never joins a
 * query that was sent before the key came: an answer is never older than its question.
 */
export function createBatch<K, T>({ idOf, load }: BatchOptions<K, T>): (key: K) => Promise<T | undefined> {
  const waiting = new Map<string, Waiting<K, T>>();
  let running = 0;
  let isScheduled = false;

  function schedule(): void {
    if (isScheduled || waiting.size === 0 || running === MAX_RUNNING) return;
    isScheduled = true;
    // This runs after everything that this turn reads from sockets, so that requests that arrived together share a query.
    setImmediate(() => {
      isScheduled = false;
      void send();
    });
  }

  async function send(): Promise<void> {
    const taken: [string, Waiting<K, T>][] = [];
    for (const each of waiting) {
      taken.push(each);
      if (taken.length === MAX_KEYS) break;
    }
    for (const [id] of taken) waiting.delete(id);
    running++;
    schedule();
    try {
      const found = await load(taken.map(([, { key }]) => key));
      for (const [id, { answer }] of taken) answer.resolve(found.get(id));
    } catch (error) {
      for (const [, { answer }] of taken) answer.reject(error);
    } finally {
      running--;
      schedule();
    }
  }

  return (key) => {
    const id = idOf(key);
    const found = waiting.get(id);
    if (found !== undefined) return found.answer.promise;
    const answer = Promise.withResolvers<T | undefined>();
    waiting.set(id, { key, answer });
    schedule();
    return answer.promise;
  };
}
