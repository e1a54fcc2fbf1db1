// Look-ups that arrive together share one query where the database is a round trip away; on SQLite each is a direct call, whose answer holds
// for as long as reads share a snapshot.
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
  /** A text of its own for each key, and the same for the row that it finds. */
  idOfKey(key: K): string;
  idOfRow(row: N): string;
  /** What callers get for a row; several may get the same object. */
  toValue(row: R): T;
}

/**
 * Gives the value of a key as it is at the time of the call or later, at once where it is at hand; undefined where there is none.
 * Errors: those of `Database.first`.
 */
export type LookUp<K, T> = (key: K) => T | undefined | Promise<T | undefined>;

/** Values that are kept for one snapshot, of each look-up: some 300 bytes each. */
const MAX_KEPT = 2048;

/** Makes a look-up. Keys must come from parsers: one that the database refuses fails all that came with it. */
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
    // Alone, the plain statement: it costs the database less.
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

/** Answers a second time what the same snapshot would: nothing that a statement would not have found either. */
function keepForSnapshot<K, T>(
  snapshotNumber: () => number,
  idOf: (key: K) => string,
  load: (key: K) => Promise<T | undefined>,
): LookUp<K, T> {
  const kept = new Map<string, T>();
  let keptOf = snapshotNumber();
  async function loadAndKeep(key: K, id: string): Promise<T | undefined> {
    const loading = load(key);
    // The statement has run: a commit between here and the next line but one makes what it found a thing of the past.
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

/** Each caller gets a span of its wait; the query that they share shows below the first of them that is kept. */
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

/** How keys become answers. */
export interface BatchOptions<K, T> {
  /** Keys with one id are one look-up. */
  idOf(key: K): string;
  /** Sends one query; gives the answers by the keys' ids. */
  load(keys: readonly K[]): Promise<ReadonlyMap<string, T>>;
}

/** Keys of one query: few enough that none of them waits long for the others. */
const MAX_KEYS = 256;
/** Queries under way: with two, one that is slow or waits for a lost server does not stop the rest. */
const MAX_RUNNING = 2;

interface Waiting<K, T> {
  readonly key: K;
  readonly answer: PromiseWithResolvers<T | undefined>;
}

/**
 * Collects keys until the present turn of the event loop ends and a query may be sent, and answers them all with it. A key never joins a query
 * that was sent before it came: its answer is never older than its question.
 */
export function createBatch<K, T>({ idOf, load }: BatchOptions<K, T>): (key: K) => Promise<T | undefined> {
  const waiting = new Map<string, Waiting<K, T>>();
  let running = 0;
  let isScheduled = false;

  function schedule(): void {
    if (isScheduled || waiting.size === 0 || running === MAX_RUNNING) return;
    isScheduled = true;
    // After all that this turn read from its sockets, so that requests which came together go together.
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
