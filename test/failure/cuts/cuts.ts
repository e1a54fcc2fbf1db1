// Safety lines, each with the edit that takes it out and the test that must then fail: what one is, and all of them together. Not here: the
// lines themselves (the files beside this one), trying them (run.ts), what was seen
// (docs/decisions/0016-each-invariant-broken-once.md).

import { ACCESS_CUTS } from "./access-cuts.ts";
import { CONTENT_CUTS } from "./content-cuts.ts";
import { JOB_CUTS } from "./job-cuts.ts";
import { TRUST_CUTS } from "./trust-cuts.ts";
import { LIMITS_CUTS } from "./limits-cuts.ts";
import { OUTBOUND_CUTS } from "./outbound-cuts.ts";
import { PORT_CUTS } from "./port-cuts.ts";

/** One safety line. */
export interface Cut {
  /** Of ARCHITECTURE.md's table. */
  readonly invariant: number;
  /** What is taken out. */
  readonly what: string;
  /** The source, and a text that it holds once, with what stands there instead. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** The test file, and a part of the name of a test in it that must fail. */
  readonly test: string;
  readonly name: string;
  /** Of a test that takes chances (test/failure/rounds.ts): so many that it finds the line gone. One where it is not given. */
  readonly rounds?: number;
}

/** All of them. */
export const CUTS: readonly Cut[] = [
  ...CONTENT_CUTS,
  ...ACCESS_CUTS,
  ...LIMITS_CUTS,
  ...PORT_CUTS,
  ...JOB_CUTS,
  ...OUTBOUND_CUTS,
  ...TRUST_CUTS,
];
