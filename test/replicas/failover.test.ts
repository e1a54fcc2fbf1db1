// Three replicas on a PostgreSQL that fails over: the primary is killed under load, its standby is promoted, and the replicas, which know
// both hosts, find it by themselves. Everything acknowledged was on both. Not here: the driver alone
// (test/failure/network-database.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { skipOrThrow } from "../tools/install.ts";
import { startPostgresPair, type PostgresPair } from "../tools/servers.ts";
import { loseNothing } from "./aftermath.ts";
import { ask, startReplicas, until } from "./replicas.ts";

it("three replicas follow PostgreSQL to the standby that was promoted, with all that they acknowledged", async (t) => {
  let pair: PostgresPair;
  try {
    pair = await startPostgresPair();
  } catch (error) {
    skipOrThrow(t, error);
    return;
  }
  const { primary, standby, urlOf, stop } = pair;
  const started = await startReplicas(t, "one directory", { database: { url: urlOf(primary), server: primary } });
  // After the replicas' own end: hooks run in the order in which they were set.
  t.after(stop);
  if (started === undefined) return;
  const { replicas } = started;
  await loseNothing(t, started, 100_000, async (load) => {
    await load.more(8);
    await primary.kill();
    for (const { origin } of replicas) {
      await until("not ready", async () => {
        const answer = await fetch(`${origin}/readyz`);
        const { checks } = (await answer.json()) as { checks: Record<string, string> };
        return answer.status === 503 && checks["database"] === "UNAVAILABLE";
      });
      // Also cached content, after the second during which a right may still be cached.
      for (const path of ["/v2/", "/v2/library/load-0/manifests/t0", "/v2/library/load-0/tags/list"]) {
        await until(`refused: ${path}`, async () => {
          const answer = await ask(origin, "GET", path);
          const text = await answer.text();
          if (answer.status === 200) return false;
          const { errors } = JSON.parse(text) as { errors: { code: string }[] };
          assert.deepEqual([answer.status, errors[0]?.code], [503, "UNAVAILABLE"], path);
          assert.match(answer.headers.get("retry-after") ?? "", /^\d+$/, path);
          return true;
        });
      }
    }
    await standby.promote();
    const promotedAt = performance.now();
    for (const { origin } of replicas) await until("ready again", async () => (await fetch(`${origin}/readyz`)).status === 200);
    t.diagnostic(`all ready ${Math.round(performance.now() - promotedAt)} ms after the standby was promoted`);
    await load.more(8);
  });
});
