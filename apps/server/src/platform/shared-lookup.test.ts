// Look-ups of one name that share a resolver call, with a resolver of the test's own.
import assert from "node:assert/strict";
import type { LookupFunction } from "node:net";
import { it } from "node:test";
import { createSharedLookup, untilNamed } from "./shared-lookup.ts";

/** A resolver that answers when the test says so. */
function createResolver() {
  const asked: { readonly hostname: string; readonly answer: Parameters<LookupFunction>[2] }[] = [];
  const lookup: LookupFunction = (hostname, _options, answer) => void asked.push({ hostname, answer });
  return { asked, shared: createSharedLookup(lookup) };
}

const failed = (): NodeJS.ErrnoException => Object.assign(new Error("getaddrinfo EAI_AGAIN a.test"), { code: "EAI_AGAIN" });

it("shared lookup: asks once for those who come while the answer is out, and again for those who come later", () => {
  const { asked, shared } = createResolver();
  const heard: string[] = [];
  const listen =
    (who: string): Parameters<LookupFunction>[2] =>
    (error, address) =>
      void heard.push(`${who} ${error?.code ?? JSON.stringify(address)}`);
  shared("a.test", {}, listen("one"));
  shared("a.test", {}, listen("two"));
  shared("b.test", {}, listen("other name"));
  shared("a.test", { all: true }, listen("other kind"));
  assert.deepEqual(
    asked.map(({ hostname }) => hostname),
    ["a.test", "b.test", "a.test"],
  );
  asked[0]!.answer(null, "192.0.2.1", 4);
  assert.deepEqual(heard, ['one "192.0.2.1"', 'two "192.0.2.1"']);
  // The address may have changed.
  shared("a.test", {}, listen("late"));
  asked[3]!.answer(null, "192.0.2.2", 4);
  asked[1]!.answer(failed(), "");
  assert.deepEqual(heard.slice(2), ['late "192.0.2.2"', "other name EAI_AGAIN"]);
});

it("shared lookup: waits for a name that has no address yet, and for none where it is an address", async () => {
  const { asked, shared } = createResolver();
  await untilNamed(shared, "192.0.2.1");
  await untilNamed(shared, "[2001:db8::1]");
  assert.equal(asked.length, 0);
  const waiting = untilNamed(shared, "a.test");
  asked[0]!.answer(failed(), "");
  await assert.rejects(waiting, { code: "EAI_AGAIN" });
});
