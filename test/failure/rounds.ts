// The number of rounds of the tests here: few by default, as in CI; many with `npm run test:failure -- --long`. Not here: the rounds.

/** Rounds of one test. `BERTH_TEST_ROUNDS` is a number, or `long` for the long run; the runner's `--rounds=N` and `--long` set it. */
export function roundsOf({ usual, long }: { readonly usual: number; readonly long: number }): number {
  const asked = process.env["BERTH_TEST_ROUNDS"];
  if (asked === undefined || asked === "") return usual;
  if (asked === "long") return long;
  const rounds = Number(asked);
  if (!Number.isSafeInteger(rounds) || rounds < 1) throw new RangeError(`BERTH_TEST_ROUNDS is a number from 1, or "long"; not ${asked}`);
  return rounds;
}
