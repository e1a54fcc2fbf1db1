// Safety lines, each with the edit that removes it and the test that must then fail: the form of a cut, and all of them together. Not here:
// the lines themselves (the files beside this one), trying them (run.ts), the results (docs/decisions/0016-each-invariant-broken-once.md).

import { ACCESS_CUTS } from "./access-cuts.ts";
import { CONTENT_CUTS } from "./content-cuts.ts";
import { DIRECTORY_CUTS } from "./directory-cuts.ts";
import { JOB_CUTS } from "./job-cuts.ts";
import { TRUST_CUTS } from "./trust-cuts.ts";
import { LIMITS_CUTS } from "./limits-cuts.ts";
import { OUTBOUND_CUTS } from "./outbound-cuts.ts";
import { PORT_CUTS } from "./port-cuts.ts";

/** One safety line. */
export interface Cut {
  /** In ARCHITECTURE.md's table. */
  readonly invariant: number;
  /** What the cut removes. */
  readonly what: string;
  /** The source, a text that occurs in it once, and its replacement. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** The test file, and a part of the name of a test in it that must fail. */
  readonly test: string;
  readonly name: string;
  /** For a test with random rounds (test/failure/rounds.ts): the number that finds the missing line. One if it is not given. */
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
  ...DIRECTORY_CUTS,
];
