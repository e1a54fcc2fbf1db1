// A delivery that the registry itself cannot make, on every engine: it ends with its job, and waits for nothing. Not here: receivers that fail
// (test/flows/webhooks.test.ts), kills (test/failure/webhooks-killed.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { createTestClock } from "../../access/access.testing.ts";
import { createSeal } from "../../access/seal.ts";
import { createJobStore, putJob } from "../../events/job-store.ts";
import { runnerOf, until } from "../../events/jobs.testing.ts";
import { forEachDatabase } from "../../platform/database/databases.testing.ts";
import { findDelivery, insertDelivery } from "./delivery-store.ts";
import { deliveryJob } from "./subscriptions.ts";
import { deliveryKind } from "./webhook-delivery.ts";
import { insertWebhook } from "./webhook-store.ts";

forEachDatabase("a delivery that cannot be made", (create) => {
  it("fails with its job's last attempt", async () => {
    const test = await create();
    try {
      const clock = createTestClock();
      const { database } = test;
      const id = await database.transaction(async (tx) => {
        const settings = { address: "https://hooks.example.com/x", form: "cloudevents", kinds: ["*"], repositories: "", tags: "" } as const;
        const home = { projectId: undefined, name: "ci", now: clock.now() };
        const webhook = (await insertWebhook(tx, home, { ...settings, template: null, isEnabled: true }))!;
        const event = {
          id: "ping-1",
          at: clock.now(),
          actor: { kind: "user", name: "admin" },
          change: { kind: "ping", webhook: "ci" },
        } as const;
        const delivery = await insertDelivery(tx, webhook, event, clock.now());
        await putJob(tx, deliveryJob({ id: webhook, projectId: undefined }, delivery), clock.now());
        return delivery;
      });
      const kind = deliveryKind({
        database,
        clock,
        seal: createSeal(Buffer.alloc(32, 1), "webhooks"),
        origin: "https://registry.test",
        fetch: async () => {
          throw new TypeError("a fault of the program");
        },
      });
      const { runner, ends } = runnerOf(database, clock, [kind], { pollMs: 5 });
      runner.start();
      for (let attempt = 1; attempt <= kind.retry.attempts; attempt++) {
        await until(() => ends.length === attempt);
        assert.equal((await findDelivery(database, id))?.state, attempt < kind.retry.attempts ? "waiting" : "failed");
        const waiting = (await createJobStore(database).outlook()).waitingUntil;
        if (waiting !== undefined) clock.advance(waiting - clock.now());
        runner.wake();
      }
      await runner.stop();
      const ended = await findDelivery(database, id);
      assert.deepEqual([ended?.endedAt, ended?.error?.includes("the job says why")], [clock.now(), true]);
    } finally {
      await test.end();
    }
  });
});
