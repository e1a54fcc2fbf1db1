// Whether a history of operations on one object can be explained by some order in which each happened at a moment between its call and its
// answer. An operation without an answer may have happened at any moment after its call, also after everything else, or never. After G.
// Lowe, "Testing for linearizability" (2017), section 4: the set of all possible states is carried along the history. Not here: the
// operations and their effect (tag-register.ts).

/** An operation of a history. Times are positions in the order in which one process saw calls and answers: no two are equal. */
export interface Operation<O> {
  readonly what: O;
  readonly calledAt: number;
  /** Undefined: no answer came. */
  readonly answeredAt: number | undefined;
}

/** An object, and how operations change it; `S` is compared with ===. */
export interface Model<S, O> {
  readonly initial: S;
  /** The state after the operation; undefined if it cannot have happened in this state with its answer. */
  apply(state: S, what: O): S | undefined;
  /** Whether the object may end in this state; any if it is not given. */
  isEnd?(state: S): boolean;
}

/** The operation whose answer no order explains; undefined if only the end is impossible. */
export interface Violation<O> {
  readonly operation: Operation<O> | undefined;
  /** Operations in progress at that moment, or without an answer so far. */
  readonly open: readonly Operation<O>[];
  /** The possible states before it. */
  readonly states: readonly unknown[];
}

/** More possible explanations than this mean that too many operations have no answer: the test must make fewer. */
const MAX_WAYS = 500_000;

/** One explanation of the history so far: the state, and which of the open operations have not happened. */
interface Way<S, O> {
  readonly state: S;
  readonly open: ReadonlySet<Operation<O>>;
}

/** Finds an operation that cannot be explained; undefined if all can. */
export function findViolation<S, O>(history: readonly Operation<O>[], model: Model<S, O>): Violation<O> | undefined {
  // Equal operations without an answer are interchangeable as soon as all of them are called.
  const ids = new Map(
    history.map((operation, id) => [operation, operation.answeredAt === undefined ? JSON.stringify(operation.what) : String(id)]),
  );
  const states = new Map<S, number>();
  const idOf = (state: S): number => {
    let id = states.get(state);
    if (id === undefined) states.set(state, (id = states.size));
    return id;
  };
  const keyOf = ({ state, open }: Way<S, O>): string =>
    [idOf(state), ...Array.from(open, (operation) => ids.get(operation)!).toSorted((one, other) => (one < other ? -1 : 1))].join();

  /** All explanations that follow from some by letting open operations happen, while `goesOn` is true. */
  function spread(from: Iterable<Way<S, O>>, goesOn: (way: Way<S, O>) => boolean): Map<string, Way<S, O>> {
    const found = new Map<string, Way<S, O>>();
    const waiting: Way<S, O>[] = [];
    const add = (way: Way<S, O>): void => {
      const key = keyOf(way);
      if (found.has(key)) return;
      if (found.size === MAX_WAYS) throw new Error(`a history has more than ${MAX_WAYS} explanations: too much of it is open`);
      found.set(key, way);
      waiting.push(way);
    };
    for (const way of from) add(way);
    for (let way = waiting.pop(); way !== undefined; way = waiting.pop()) {
      if (!goesOn(way)) continue;
      const tried = new Set<string>();
      for (const operation of way.open) {
        const id = ids.get(operation)!;
        if (tried.has(id)) continue;
        tried.add(id);
        const state = model.apply(way.state, operation.what);
        // An operation without an answer that changes nothing need not be tried yet.
        if (state === undefined || (state === way.state && operation.answeredAt === undefined)) continue;
        add({ state, open: new Set([...way.open].filter((each) => each !== operation)) });
      }
    }
    return found;
  }

  const events = history
    .flatMap((operation) => [
      { at: operation.calledAt, operation, isCall: true },
      ...(operation.answeredAt === undefined ? [] : [{ at: operation.answeredAt, operation, isCall: false }]),
    ])
    .toSorted((one, other) => one.at - other.at);
  let ways: Way<S, O>[] = [{ state: model.initial, open: new Set() }];
  for (const { operation, isCall } of events) {
    if (isCall) {
      ways = ways.map(({ state, open }) => ({ state, open: new Set(open).add(operation) }));
      continue;
    }
    const all = spread(ways, ({ open }) => open.has(operation));
    const next = [...all.values()].filter(({ open }) => !open.has(operation));
    if (next.length === 0) return violationOf(operation, ways);
    ways = next;
  }
  const { isEnd } = model;
  if (isEnd === undefined || [...spread(ways, ({ state }) => !isEnd(state)).values()].some(({ state }) => isEnd(state))) return undefined;
  return violationOf(undefined, ways);
}

function violationOf<S, O>(operation: Operation<O> | undefined, ways: readonly Way<S, O>[]): Violation<O> {
  const open = new Set(ways.flatMap((way) => [...way.open]));
  return { operation, open: [...open].filter((each) => each !== operation), states: [...new Set(ways.map(({ state }) => state))] };
}
