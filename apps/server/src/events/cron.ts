// Times that repeat by the calendar of a time zone: the five fields of cron, and the next time. Not here: waiting for it (job-runner.ts).

/** Repeating times. */
export interface Cron {
  /** The first time after `after`; both in milliseconds since 1970. */
  next(after: number): number;
}

interface Field {
  readonly name: string;
  readonly from: number;
  readonly to: number;
  /** Names of values, the first one for `from`. */
  readonly words?: readonly string[];
}

const FIELDS: readonly [Field, Field, Field, Field, Field] = [
  { name: "minute", from: 0, to: 59 },
  { name: "hour", from: 0, to: 23 },
  { name: "day of the month", from: 1, to: 31 },
  { name: "month", from: 1, to: 12, words: ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"] },
  // Both 0 and 7 are Sunday.
  { name: "day of the week", from: 0, to: 7, words: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] },
];
const DAY_MS = 86_400_000;
/** The 29th of February is at most eight years away, around a century without one. */
const MAX_DAYS = 9 * 366;

/**
 * Parses an expression such as `30 3 * * mon-fri`. If both day fields are set, either is enough, as in cron. A time that is skipped when
 * summer time begins comes as much later; one that occurs twice counts once, unless the hour is `*`. Errors: `RangeError`, with a message
 * for people.
 */
export function parseCron(expression: string, timeZone: string): Cron {
  const texts = expression.trim().split(/\s+/);
  if (texts.length !== FIELDS.length) throw new RangeError(`"${expression}" has ${texts.length} fields and not five`);
  const [minutes, hours, days, months, weekdays] = FIELDS.map((field, i) => readField(field, texts[i]!, expression)) as unknown as Sets;
  if (weekdays.has(7)) weekdays.add(0);
  const isEveryHour = texts[1]!.startsWith("*");
  const isAnyDay = texts[2]!.startsWith("*");
  const isAnyWeekday = texts[4]!.startsWith("*");
  const offsetAt = offsetsOf(timeZone);

  function isOn(day: Date): boolean {
    if (!months.has(day.getUTCMonth() + 1)) return false;
    const fits = [days.has(day.getUTCDate()), weekdays.has(day.getUTCDay())] as const;
    return isAnyDay || isAnyWeekday ? fits[0] && fits[1] : fits[0] || fits[1];
  }

  /** The moments at which the zone's clocks show a time. */
  function momentsOf(shown: number): readonly number[] {
    const offsets = [offsetAt(shown - DAY_MS), offsetAt(shown + DAY_MS)] as const;
    const found = [...new Set(offsets)]
      .map((offset) => ({ at: shown - offset, offset }))
      .filter(({ at, offset }) => offsetAt(at) === offset);
    const moments = found.map(({ at }) => at).toSorted((a, b) => a - b);
    if (isEveryHour) return moments;
    return [moments[0] ?? shown - offsets[0]];
  }

  function next(after: number): number {
    const shown = after + offsetAt(after);
    // From the day before: a skipped time may fall after midnight.
    const first = Math.floor(shown / DAY_MS) - 1;
    for (let day = first; day < first + MAX_DAYS; day++) {
      if (!isOn(new Date(day * DAY_MS))) continue;
      let soonest = Infinity;
      for (const hour of hours) {
        for (const minute of minutes) {
          for (const moment of momentsOf(day * DAY_MS + (hour * 60 + minute) * 60_000)) {
            if (moment > after && moment < soonest) soonest = moment;
          }
        }
      }
      if (soonest < Infinity) return soonest;
    }
    throw new RangeError(`"${expression}" never comes`);
  }

  // A time that never comes is reported now, and not when it is waited for.
  next(0);
  return { next };
}

type Sets = readonly [Set<number>, Set<number>, Set<number>, Set<number>, Set<number>];

function readField(field: Field, text: string, expression: string): Set<number> {
  const bad = (): RangeError => new RangeError(`"${text}" is no ${field.name} in "${expression}"`);
  function valueOf(word: string): number {
    const named = field.words?.indexOf(word.toLowerCase()) ?? -1;
    const value = named >= 0 ? named + field.from : /^\d{1,2}$/.test(word) ? Number(word) : Number.NaN;
    if (!(value >= field.from && value <= field.to)) throw bad();
    return value;
  }
  const values = new Set<number>();
  for (const part of text.split(",")) {
    const [, range, step] = /^([^/]+)(?:\/(\d{1,2}))?$/.exec(part) ?? [];
    if (range === undefined || step === "0" || step === "00") throw bad();
    const [low, high, ...more] = range === "*" ? [field.from, field.to] : range.split("-").map(valueOf);
    // With a step, a single value is the start of a range.
    const last = high ?? (step === undefined ? low! : field.to);
    if (more.length > 0 || last < low!) throw bad();
    for (let value = low!; value <= last; value += Number(step ?? 1)) values.add(value);
  }
  return values;
}

/** The zone's offset from UTC, in milliseconds. Errors: `RangeError` if there is no such zone. */
function offsetsOf(timeZone: string): (at: number) => number {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone,
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  return (at) => {
    const whole = Math.floor(at / 1000) * 1000;
    const parts: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {};
    for (const { type, value } of format.formatToParts(whole)) parts[type] = Number(value);
    const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
    return Date.UTC(year, month - 1, day, hour, minute, second) - whole;
  };
}
