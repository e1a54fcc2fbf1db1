// How many passwords of one account a persistent guesser can try, from one address and from many: simulated hours against the real
// counting. Not here: owners who log in meanwhile (authenticate.test.ts); figures of a whole day
// (docs/decisions/0031-owners-are-not-locked-out.md).
import assert from "node:assert/strict";
import { it } from "node:test";
import { RegistryError } from "@berth/oci/errors";
import { createSqliteForTest } from "../platform/database/databases.testing.ts";
import { createTestAccess, createTestClock } from "./access.testing.ts";

const HOUR_MS = 3_600_000;
const HOURS = 6;
/** Consecutive refusals that show a guesser that the account is locked, and not only some addresses. */
const ENOUGH_REFUSALS = 4;

async function guessesOf(addresses: number): Promise<number> {
  const test = await createSqliteForTest();
  const clock = createTestClock();
  const { loginFailures } = createTestAccess(test.database, clock);
  const end = clock.now() + HOURS * HOUR_MS;
  // When each address may try again, according to its last answer.
  const next = Array.from({ length: addresses }, () => clock.now());
  let guesses = 0;
  for (let turn = 0; clock.now() < end; turn++) {
    let refusals = 0;
    for (let step = 0; step < addresses && refusals < ENOUGH_REFUSALS; step++) {
      const index = (turn * 97 + step) % addresses;
      if (next[index]! > clock.now()) continue;
      const address = `10.${index >> 8}.${index & 255}.7`;
      try {
        await loginFailures.check("victim", address);
        refusals = 0;
        await loginFailures.record("victim", address, `guess ${guesses++}`);
      } catch (error) {
        if (!(error instanceof RegistryError)) throw error;
        next[index] = clock.now() + Number(error.headers["retry-after"]) * 1000;
        refusals++;
      }
    }
    const soonest = Math.min(...next.filter((at) => at > clock.now()), clock.now() + HOUR_MS / 60);
    clock.advance(soonest - clock.now());
  }
  await test.end();
  return guesses;
}

it("guesses from one address are a dozen an hour", async () => {
  const guesses = await guessesOf(1);
  assert.ok(guesses >= HOURS * 5 && guesses <= HOURS * 14, String(guesses));
});

it("guesses from many addresses are as few as from some", async () => {
  // A hundred in each hour's window, and one in each minute of it.
  for (const addresses of [20, 200]) {
    const guesses = await guessesOf(addresses);
    assert.ok(guesses >= HOURS * 50 && guesses <= HOURS * 161, `${addresses}: ${guesses}`);
  }
});
