// deploy/compose/compose.yaml as an operator starts it: three replicas, PostgreSQL, an S3 and a proxy with TLS, in real containers. Not
// here: building the images without a registry (local-images.ts); the guarantees of replicas in general (test/replicas).
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile, rm } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { writeImage } from "../clients/images.ts";
import { type Dockerd, startDockerd } from "../tools/daemons.ts";
import { cacheFolder, ensureTool, skipOrThrow } from "../tools/install.ts";
import { freePort, temporaryFolder } from "../tools/processes.ts";
import { buildImages } from "./local-images.ts";

const run = promisify(execFile);
const outputLimit = { maxBuffer: 64 * 1024 * 1024 };
const composeFile = join(import.meta.dirname, "../../deploy/compose/compose.yaml");
const replicas = ["berth-1", "berth-2", "berth-3"] as const;

/** The project while it is up. */
interface Stack {
  readonly dockerd: Dockerd;
  readonly folder: string;
  readonly port: number;
  readonly ca: string;
  readonly password: string;
  compose(...args: readonly string[]): Promise<string>;
  /** Runs crane, signed in as the administrator over TLS. */
  crane(...args: readonly string[]): Promise<string>;
}

describe("docker compose", () => {
  let stack: Stack | undefined;
  let unavailable: unknown;
  before(async () => {
    try {
      stack = await start();
    } catch (error) {
      unavailable = error;
    }
  });
  after(async () => stack && stop(stack));

  /** A test that is skipped, with the reason, where the machine cannot run containers. */
  const test = (name: string, body: (stack: Stack) => Promise<void>): void => {
    void it(name, async (t) => {
      if (stack === undefined) skipOrThrow(t, unavailable);
      else await body(stack);
    });
  };

  test("takes a push and gives it back over TLS, from every replica", async ({ crane, port, folder }) => {
    const image = join(folder, "image");
    await writeImage(image, "gzip");
    await crane("push", image, `localhost:${port}/library/app:v1`);
    // The proxy works round-robin: six requests reach all three.
    for (let index = 0; index < 6; index++) {
      await crane("pull", "--format=oci", `localhost:${port}/library/app:v1`, join(folder, `pulled-${index}`));
      const [pulled, pushed] = await Promise.all(
        [`pulled-${index}`, "image"].map((name) => readFile(join(folder, name, "index.json"), "utf8")),
      );
      const digestOf = (index: string | undefined) => (JSON.parse(index ?? "") as { manifests: { digest: string }[] }).manifests[0]?.digest;
      assert.equal(digestOf(pulled), digestOf(pushed));
    }
  });

  test("runs without root, without capabilities, and with nothing to write to", async ({ compose, dockerd }) => {
    const id = (await compose("ps", "-q", "berth-1")).trim();
    const [container] = JSON.parse(await dockerd.docker("inspect", id)) as [
      { Config: { User: string }; HostConfig: { ReadonlyRootfs: boolean; CapDrop: string[]; Privileged: boolean } },
    ];
    assert.equal(container.Config.User, "65532:65532");
    assert.equal(container.HostConfig.ReadonlyRootfs, true);
    assert.deepEqual(container.HostConfig.CapDrop, ["ALL"]);
    const [image] = JSON.parse(await dockerd.docker("image", "inspect", "berth")) as [{ Size: number }];
    // What docs/guide/deploy.md says, and some.
    assert.ok(image.Size < 180e6, `the image has ${image.Size} bytes`);
  });

  test("goes on while replicas are killed one after the other, and loses nothing", async ({ compose, crane, port, folder }) => {
    const image = join(folder, "image");
    const pushed: string[] = [];
    for (const victim of replicas) {
      await compose("kill", "-s", "SIGKILL", victim);
      for (let index = 0; index < 3; index++) {
        const reference = `localhost:${port}/library/killed-${victim}:v${index}`;
        await crane("push", image, reference);
        pushed.push(reference);
      }
      await compose("start", victim);
      await readyReplicas({ compose }, replicas.length);
    }
    for (const reference of pushed) await crane("digest", reference);
  });

  test("has everything again after down and up", async ({ compose, crane, port, ca }) => {
    await compose("down");
    await compose("up", "-d", "--no-build");
    await readyAt(port, ca);
    await crane("digest", `localhost:${port}/library/app:v1`);
  });
});

async function start(): Promise<Stack> {
  const composeTool = await ensureTool("docker-compose");
  const crane = await ensureTool("crane");
  const folder = await temporaryFolder("compose");
  const dockerd = await startDockerd({ keptRoot: join(cacheFolder(), "docker") });
  const port = await freePort();
  const env = {
    ...process.env,
    DOCKER_HOST: dockerd.host,
    COMPOSE_PROJECT_NAME: "berth-test",
    BERTH_PORT: String(port),
    // The containers are busy at their start, all at once.
    COMPOSE_HTTP_TIMEOUT: "300",
  };
  const compose = async (...args: readonly string[]) =>
    (await run(composeTool, ["-f", composeFile, ...args], { ...outputLimit, env })).stdout;
  try {
    await buildImages(dockerd.docker, folder);
    await compose("up", "-d", "--no-build");
    const ca = join(folder, "ca.crt");
    const proxy = (await compose("ps", "-q", "proxy")).trim();
    await dockerd.docker("cp", `${proxy}:/run/tls/ca.crt`, ca);
    await readyAt(port, ca);
    const password = (await compose("run", "--rm", "--no-deps", "-T", "show-password")).trim();
    const craneEnv = { ...process.env, HOME: folder, DOCKER_CONFIG: join(folder, "docker"), SSL_CERT_FILE: ca };
    const runCrane = async (...args: readonly string[]) => (await run(crane, [...args], { ...outputLimit, env: craneEnv })).stdout;
    await runCrane("auth", "login", `localhost:${port}`, "-u", "admin", "-p", password);
    return { dockerd, folder, port, ca, password, compose, crane: runCrane };
  } catch (error) {
    // The containers' logs are removed with them.
    const logs = await compose("logs", "--no-color", "--tail=40").catch(() => "");
    await compose("down", "-v").catch(() => undefined);
    await dockerd.stop();
    await rm(folder, { recursive: true, force: true });
    throw new Error(`the project did not come up: ${error instanceof Error ? error.message : String(error)}\n${logs}`, { cause: error });
  }
}

async function stop({ compose, dockerd, folder }: Stack): Promise<void> {
  await compose("down", "-v");
  await dockerd.stop();
  await rm(folder, { recursive: true, force: true });
}

/** Waits until the proxy has a ready replica. */
async function readyAt(port: number, ca: string): Promise<void> {
  const certificate = await readFile(ca);
  const ask = () =>
    new Promise<number>((resolve) => {
      const asked = request({ host: "localhost", port, path: "/readyz", ca: certificate }, (answer) => {
        answer.resume();
        resolve(answer.statusCode ?? 0);
      });
      asked.once("error", () => resolve(0));
      asked.end();
    });
  for (let tries = 0; tries < 600; tries++) {
    if ((await ask()) === 200) return;
    await sleep(500);
  }
  throw new Error("no replica became ready within five minutes");
}

/** Waits until docker reports that many healthy replicas. */
async function readyReplicas({ compose }: Pick<Stack, "compose">, count: number): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    const states = await compose("ps", ...replicas);
    if ((states.match(/\(healthy\)/g) ?? []).length === count) return;
    await sleep(500);
  }
  throw new Error(`not all replicas became healthy:\n${await compose("ps")}`);
}
