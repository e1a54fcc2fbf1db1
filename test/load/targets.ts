// Berth's performance targets, as one table, and how a run's figures compare with them. A missed target is shown as `short` and fails
// nothing: a machine may be busy, and a bench is no test.
import type { LimitName } from "./limits.ts";
import { figuresOf, findRow, largest, limitSubject } from "./results.ts";
import type { Figures, Row } from "./results.ts";

/** What was aimed at and what was measured; `met` is undefined when something needed was not measured. */
export interface Verdict {
  readonly caseName: string;
  readonly text: string;
  readonly measured: string;
  readonly met: boolean | undefined;
}

interface Target {
  readonly caseName: string;
  readonly text: string;
  /** The measured value from Berth's row, the peer's, and all rows. */
  readonly value: (rows: readonly Row[], caseName: string) => number | undefined;
  readonly atLeast?: number;
  readonly atMost?: number;
  readonly show: (value: number) => string;
}

const subject = "berth";
const peer = "distribution";
const times = (value: number): string => `${value.toFixed(2)}x`;
const percent = (value: number): string => `${(value * 100).toFixed(1)} %`;
const megabytes = (value: number): string => `${Math.round(value / 1e6)} MB`;

/** Berth's figure over another subject's. */
function ratio(to: string, pick: (figures: Figures) => number | undefined): Target["value"] {
  return (rows, caseName) => {
    const ours = figuresOf(findRow(rows, caseName, subject));
    const theirs = figuresOf(findRow(rows, caseName, to));
    const [above, below] = [ours && pick(ours), theirs && pick(theirs)];
    return above === undefined || below === undefined || below === 0 ? undefined : above / below;
  };
}

const rate = (figures: Figures): number => figures.rate;
const cpu = (figures: Figures): number | undefined => figures.cpuPerUnit;
const perCore = (figures: Figures): number | undefined =>
  figures.cpuPerUnit === undefined || figures.cpuPerUnit === 0 ? undefined : 1 / figures.cpuPerUnit;

function rateTarget(caseName: string, atLeast: number): Target {
  const text = `at least ${atLeast}x the rate of distribution 3.1.2`;
  return { caseName, text, value: ratio(peer, rate), atLeast, show: times };
}

function cpuTarget(caseName: string, atMost: number): Target {
  const text = `at most ${atMost}x the CPU per unit of distribution 3.1.2`;
  return { caseName, text, value: ratio(peer, cpu), atMost, show: times };
}

function limitTarget(caseName: string, limit: LimitName, atLeast: number): Target {
  const text = `at least ${atLeast * 100} % of the machine's ${limit}`;
  return { caseName, text, value: ratio(limitSubject(limit), rate), atLeast, show: percent };
}

const targets: readonly Target[] = [
  ...(["GET", "HEAD"] as const).flatMap((method): Target[] => {
    const caseName = `manifest/${method.toLowerCase()}-tag/token`;
    const limit: LimitName = `bare node:http ${method}`;
    return [
      rateTarget(caseName, 3.5),
      {
        caseName,
        text: `at least 60 % of ${limit} for each core used`,
        value: ratio(limitSubject(limit), perCore),
        atLeast: 0.6,
        show: percent,
      },
    ];
  }),
  rateTarget("blob/get-100MiB/hot", 1.3),
  cpuTarget("blob/get-100MiB/hot", 0.6),
  limitTarget("blob/get-100MiB/hot", "loopback pipe", 0.7),
  rateTarget("blob/get-100MiB/cold", 1),
  cpuTarget("blob/get-100MiB/cold", 1.1),
  rateTarget("push/monolithic-100MiB", 1.2),
  limitTarget("push/monolithic-100MiB", "hash-while-write+fsync 100 MiB", 0.75),
  rateTarget("images/one-repository", 5),
  {
    caseName: "start/empty",
    text: "at most 100 MB resident at rest",
    value: (rows, caseName) => figuresOf(findRow(rows, caseName, subject))?.idleBytes,
    atMost: 100e6,
    show: megabytes,
  },
  {
    caseName: "start/loaded",
    text: "at most 350 MB resident under the whole load",
    value: (rows) => largest(rows.filter((row) => row.subject === subject).map((row) => figuresOf(row)?.peakBytes)),
    atMost: 350e6,
    show: megabytes,
  },
];

/** How a run stands to every target whose case Berth took part in. */
export function judge(rows: readonly Row[]): readonly Verdict[] {
  return targets
    .filter((target) => findRow(rows, target.caseName, subject) !== undefined)
    .map((target) => {
      const { caseName, text } = target;
      const value = target.value(rows, caseName);
      if (value === undefined) return { caseName, text, measured: "-", met: undefined };
      const met = value >= (target.atLeast ?? -Infinity) && value <= (target.atMost ?? Infinity);
      return { caseName, text, measured: target.show(value), met };
    });
}
