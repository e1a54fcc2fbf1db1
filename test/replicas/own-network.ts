// A network of a test's own: the test runs again in a network namespace, where programs get their own namespaces, connected by cables whose
// packets can be dropped port by port. It is invisible outside, and disappears with its processes. Not here: what runs there (replicas.ts).
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import type { TestContext } from "node:test";
import { promisify } from "node:util";
import { cannotRunHere, ensureTool, skipOrThrow } from "../tools/install.ts";
import { atOurEnd } from "../tools/processes.ts";

const run = promisify(execFile);

/** All addresses are of this network, which exists only in namespaces that are made here. */
export const OWN_NETWORK = "10.99.0.0/16";
const MIDDLE = "10.99.0.1";
/** Set in the process that runs inside. */
const INSIDE = "BERTH_TEST_OWN_NETWORK";
/** A file's tests take a minute or two; a hanging one must end before the suite's own limit. */
const INSIDE_LIMIT_MS = 18 * 60_000;

/** A namespace on a cable. */
export interface NetworkPlace {
  readonly address: string;
  /** The beginning of a command whose program then runs there. */
  readonly enter: readonly [string, ...string[]];
}

/** The network's middle, where the test runs, and the cables. */
export interface OwnNetwork {
  /** The middle's address, for servers that the places are to reach. */
  readonly address: string;
  readonly network: string;
  /** Makes the place of this number, 1 to 250, at the end of a cable. */
  join(number: number): Promise<NetworkPlace>;
  /** Drops packets from now on to and from this port, of the middle or of the place, between the two. No side is notified. */
  cut(address: string, port: number): Promise<void>;
  heal(): Promise<void>;
}

/** Whether this process is the one inside. */
export const isInside = process.env[INSIDE] === "1";

/** Runs the test file again inside; its outcome is the test's. Skips if no namespaces can be created. */
export async function runInside(t: TestContext, file: string): Promise<void> {
  try {
    for (const tool of ["ip", "iptables"] as const) await ensureTool(tool);
  } catch (error) {
    skipOrThrow(t, error);
    return;
  }
  try {
    await run("unshare", ["--net", "iptables", "-L", "-n"]);
    await run("unshare", ["--net", "ip", "link", "add", "one", "type", "veth", "peer", "name", "two"]);
  } catch (error) {
    t.skip(`${cannotRunHere}no network namespaces, cables or filters: ${String((error as { stderr?: string }).stderr ?? error).trim()}`);
    return;
  }
  const { NODE_TEST_CONTEXT: _context, ...outer } = process.env;
  const child = spawn("unshare", ["--net", process.execPath, "--test", "--test-reporter=spec", file], {
    env: { ...outer, [INSIDE]: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  // Its children end when it is asked to end.
  const callOff = atOurEnd(() => child.kill("SIGTERM"));
  const tooLong = setTimeout(() => child.kill("SIGTERM"), INSIDE_LIMIT_MS);
  const written: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (piece: Buffer) => void written.push(piece.toString()));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  clearTimeout(tooLong);
  callOff();
  const text = written.join("");
  assert.equal(code, 0, text);
  assert.match(text, /^ℹ pass [1-9]/m, text);
  for (const line of text.split("\n").filter((each) => /^\s*[✔ℹ]/.test(each))) t.diagnostic(line.trim());
}

/** Sets up the middle; to be called inside, once. */
export async function openNetwork(t: TestContext): Promise<OwnNetwork> {
  assert.ok(isInside, "would change the machine's own network");
  const ip = await ensureTool("ip");
  const iptables = await ensureTool("iptables");
  await run(ip, ["link", "set", "lo", "up"]);
  await run(ip, ["addr", "replace", `${MIDDLE}/32`, "dev", "lo"]);
  return {
    address: MIDDLE,
    network: OWN_NETWORK,
    async join(number) {
      // The namespace lives as long as this process; the cable goes with it.
      const holder = spawn("unshare", ["--net", "sh", "-c", "echo made; exec cat"], { stdio: ["pipe", "pipe", "inherit"] });
      await new Promise((resolve, reject) => {
        holder.stdout.once("data", resolve);
        holder.once("error", reject);
      });
      t.after(() => holder.kill("SIGKILL"));
      const enter = ["nsenter", `--net=/proc/${holder.pid}/ns/net`] as const;
      const inPlace = (...args: string[]): Promise<unknown> => run(enter[0], [enter[1], ip, ...args]);
      const [near, far] = [`10.99.${number}.1`, `10.99.${number}.2`];
      await run(ip, ["link", "add", `cable${number}`, "type", "veth", "peer", "name", "eth0", "netns", String(holder.pid)]);
      await run(ip, ["addr", "add", `${near}/30`, "dev", `cable${number}`]);
      await run(ip, ["link", "set", `cable${number}`, "up"]);
      await inPlace("link", "set", "lo", "up");
      await inPlace("addr", "add", `${far}/30`, "dev", "eth0");
      await inPlace("link", "set", "eth0", "up");
      await inPlace("route", "add", "default", "via", near);
      return { address: far, enter };
    },
    async cut(address, port) {
      for (const which of ["--dport", "--sport"]) {
        for (const [chain, end] of [
          ["INPUT", "-s"],
          ["OUTPUT", "-d"],
        ] as const) {
          await run(iptables, ["-I", chain, end, address, "-p", "tcp", which, String(port), "-j", "DROP"]);
        }
      }
    },
    async heal() {
      await run(iptables, ["-F"]);
    },
  };
}
