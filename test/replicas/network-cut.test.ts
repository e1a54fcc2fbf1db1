// One replica of three is silently cut off from PostgreSQL, from S3 or from the proxy in the middle of pushes, and later reconnected:
// nothing acknowledged is lost, it reports itself as unready, and it does not write to what it lost meanwhile. In a network of the test's
// own.
import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { commandsInNewHome } from "../clients/command.ts";
import { readLayout, writeImage } from "../clients/images.ts";
import { roundsOf } from "../failure/rounds.ts";
import { requireTool } from "../tools/install.ts";
import { everyoneCollects, lateWriterIsFenced, loseNothing } from "./aftermath.ts";
import { isInside, openNetwork, runInside, type OwnNetwork } from "./own-network.ts";
import { ADMIN, AWAY_AFTER_MS, startReplicas, until, type Replica, type Replicas } from "./replicas.ts";

interface Running extends Replicas {
  readonly network: OwnNetwork;
}

async function startAll(t: TestContext): Promise<Running | undefined> {
  const network = await openNetwork(t);
  const started = await startReplicas(t, "versitygw", {
    network,
    settings: { "database.acquireTimeoutSeconds": "2s" },
    silenceMs: AWAY_AFTER_MS,
  });
  return started === undefined ? undefined : { ...started, network };
}

/** A possible cut: the address and port whose packets are dropped, and the readiness that follows. */
type Cut = (running: Running, replica: Replica) => readonly [port: number, part: "database" | "store" | undefined];
const CUTS: Readonly<Record<string, Cut>> = {
  PostgreSQL: ({ postgres }) => [postgres.port, "database"],
  S3: ({ store }) => [Number(store!.port), "store"],
  "the proxy": (_running, { host }) => [Number(host.split(":")[1]), undefined],
};

/** All cuts; without it, as in CI, the first. */
const isLong = roundsOf({ usual: 0, long: 1 }) > 0;

const addressOf = ({ host }: Replica): string => host.split(":")[0]!;

async function readiness({ origin }: Replica): Promise<{ status: number; checks: Readonly<Record<string, string>> }> {
  const answer = await fetch(`${origin}/readyz`);
  return { status: answer.status, checks: ((await answer.json()) as { checks: Record<string, string> }).checks };
}

/** Pushes and pulls back an image of many layers with crane, which retries as it does everywhere. */
async function pushWithCrane(t: TestContext, { proxy }: Running, name: string): Promise<void> {
  const crane = await requireTool(t, "crane");
  if (crane === undefined) return;
  const commands = await commandsInNewHome("network-cut");
  try {
    const image = await writeImage(`${commands.home}/image`, "hundred-layers", name);
    await commands.run(crane, "auth", "login", "--insecure", proxy.host, "-u", ADMIN.name, "-p", ADMIN.password);
    const reference = `${proxy.host}/library/crane:${name}`;
    await commands.run(crane, "push", "--insecure", image.folder, reference);
    await commands.run(crane, "pull", "--insecure", "--format=oci", reference, `${commands.home}/back`);
    assert.deepEqual((await readLayout(`${commands.home}/back`)).content, image.content);
  } finally {
    await commands.end();
  }
}

if (isInside) {
  describe("a replica that is cut off without a word", () => {
    it("costs nothing that was acknowledged, whatever it is cut off from", async (t) => {
      const running = await startAll(t);
      if (running === undefined) return;
      const { network, replicas } = running;
      await loseNothing(t, running, 300_000, async (load) => {
        await load.more(5);
        for (const [at, [what, cut]] of Object.entries(CUTS)
          .slice(0, isLong ? undefined : 1)
          .entries()) {
          const replica = replicas[at]!;
          const [port, part] = cut(running, replica);
          await network.cut(addressOf(replica), port);
          const crane = pushWithCrane(t, running, `cut-${at}`);
          crane.catch(() => undefined);
          if (part !== undefined) {
            await until(`says that it is cut off from ${what}`, async () => {
              const { status, checks } = await readiness(replica);
              return status === 503 && checks[part] !== "ok";
            });
            for (const other of replicas)
              if (other !== replica) await until("the others are ready", async () => (await readiness(other)).status === 200);
          }
          await load.more(8);
          await crane;
          await network.heal();
          await until(`is ready again after ${what}`, async () => (await readiness(replica)).status === 200);
          await load.more(3);
        }
      });
    });

    if (!isLong) return;
    it("does not write to what it lost while it was cut off from PostgreSQL", async (t) => {
      const running = await startAll(t);
      if (running === undefined) return;
      await lateWriterIsFenced(
        running,
        (late) => running.network.cut(addressOf(late), running.postgres.port),
        async (late) => {
          await running.network.heal();
          await until("ready again", async () => (await readiness(late)).status === 200);
        },
      );
      await everyoneCollects(running);
    });
  });
} else {
  it("a replica that is cut off without a word loses nothing and writes nothing late", (t) => runInside(t, import.meta.filename));
}
