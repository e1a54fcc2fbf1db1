// Real container daemons that pull from and push to a registry under test: containerd (with ctr and the kubelet's CRI) and dockerd, which
// can also run containers. Both need root. Plain servers are in servers.ts.
import { execFile } from "node:child_process";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { ensureTool, ToolUnavailable } from "./install.ts";
import { startProgram, temporaryFolder } from "./processes.ts";

const run = promisify(execFile);

/** A running containerd. */
export interface Containerd {
  /** Path of its socket, for `ctr -a SOCKET`. */
  readonly socket: string;
  /** Holds `HOST:PORT/hosts.toml`, for `ctr --hosts-dir` and read at every CRI pull: mirrors and private CAs. */
  readonly hostsFolder: string;
  /** Runs `ctr -n berth-test` with these arguments and returns its standard output. */
  ctr(...args: readonly string[]): Promise<string>;
  /** Runs `crictl` with these arguments: `pull` is the CRI PullImage of a kubelet. Errors: ToolUnavailable. */
  crictl(...args: readonly string[]): Promise<string>;
  stop(): Promise<void>;
}

/**
 * Starts containerd: release 2 built by Go, or release 1.6 of Debian. CRI uses plain HTTP for registries on 127.0.0.1; ctr needs
 * `--plain-http`. Errors: ToolUnavailable.
 */
export async function startContainerd(release: 1 | 2): Promise<Containerd> {
  requireRoot("containerd");
  const command = await ensureTool(release === 1 ? "containerd1" : "containerd2");
  const ctr = await ensureTool(release === 1 ? "ctr1" : "ctr2");
  const folder = await temporaryFolder("containerd");
  const socket = join(folder, "containerd.sock");
  const hostsFolder = join(folder, "hosts");
  await mkdir(hostsFolder);
  await writeFile(join(folder, "config.toml"), containerdSettings(release, folder, socket, hostsFolder));
  const env = { ...process.env, CONTAINERD_SNAPSHOTTER: "native" };
  const runCtr = async (...args: readonly string[]) =>
    (await run(ctr, ["-a", socket, "-n", "berth-test", ...args], { ...outputLimit, env })).stdout;
  const program = await startProgram({
    command,
    args: ["-c", join(folder, "config.toml")],
    folder,
    ready: async () => {
      await runCtr("version");
      return true;
    },
  });
  return {
    socket,
    hostsFolder,
    ctr: runCtr,
    crictl: async (...args) => {
      const endpoints = ["--runtime-endpoint", `unix://${socket}`, "--image-endpoint", `unix://${socket}`];
      return (await run(await ensureTool("crictl"), [...endpoints, ...args], outputLimit)).stdout;
    },
    stop: () => program.stop(),
  };
}

/** A running dockerd. */
export interface Dockerd {
  /** `unix://...`, for `docker -H`. */
  readonly host: string;
  /** Runs `docker` with these arguments, its credentials kept apart from the user's; returns its standard output. */
  docker(...args: readonly string[]): Promise<string>;
  stop(): Promise<void>;
}

/**
 * Starts Debian's dockerd on a containerd of ours. Registries on 127.0.0.1 may use plain HTTP. With `keptRoot` it also runs containers, and
 * keeps images and layers in that folder for the next run. Errors: ToolUnavailable.
 */
export async function startDockerd({ keptRoot }: { readonly keptRoot?: string } = {}): Promise<Dockerd> {
  requireRoot("dockerd");
  const command = await ensureTool("dockerd");
  const docker = await ensureTool("docker");
  // A containerd of dockerd's own would outlive a killed dockerd.
  const containerd = await startContainerd(1);
  const folder = await temporaryFolder("dockerd");
  const host = `unix://${join(folder, "docker.sock")}`;
  const runDocker = async (...args: readonly string[]) =>
    (await run(docker, ["--config", join(folder, "client"), "-H", host, ...args], outputLimit)).stdout;
  try {
    const program = await startProgram({
      command,
      args: [
        "--containerd",
        containerd.socket,
        "-H",
        host,
        "-p",
        join(folder, "docker.pid"),
        "--data-root",
        keptRoot ?? join(folder, "root"),
        "--exec-root",
        join(folder, "exec"),
        // No default network for containers: the machine may use its addresses.
        "--bridge=none",
        // vfs works on every file system, also inside a container, but copies every layer that a container runs on.
        ...(keptRoot === undefined ? ["--storage-driver=vfs", "--iptables=false"] : ["--storage-driver=overlay2"]),
      ],
      folder,
      ready: async () => {
        await runDocker("version");
        return true;
      },
    });
    const stop = async () => {
      await program.end("SIGTERM");
      await unmountBelow(folder);
      if (keptRoot !== undefined) await unmountBelow(keptRoot);
      await program.stop();
      await containerd.stop();
    };
    return { host, docker: runDocker, stop };
  } catch (error) {
    await containerd.stop();
    throw error;
  }
}

// A pull's progress lines are far below this; Node's default of 1 MiB is not.
const outputLimit = { maxBuffer: 64 * 1024 * 1024 };

/** Unmounts what dockerd leaves: names of network namespaces, and layers of containers that were killed with it. */
async function unmountBelow(folder: string): Promise<void> {
  const lines = (await readFile("/proc/self/mountinfo", "utf8")).split("\n");
  // The innermost mount stands last.
  const points = lines.map((line) => line.split(" ")[4] ?? "").filter((point) => point.startsWith(`${folder}/`));
  // Lazily: the kernel may hold one for a moment longer than the killed process.
  for (const point of points.toReversed()) await run("umount", ["-l", point]);
}

function containerdSettings(release: 1 | 2, folder: string, socket: string, hostsFolder: string): string {
  const images = release === 1 ? "io.containerd.grpc.v1.cri" : "io.containerd.cri.v1.images";
  // Release 1.6 keeps the snapshotter one level deeper than release 2.
  const snapshots = release === 1 ? `${images}".containerd` : `${images}"`;
  // `native` copies where overlayfs would mount: it works inside a container too. NRI listens on a fixed path, and
  // `opt` wants to write to /opt: neither has a part in pulling.
  return `version = ${release === 1 ? 2 : 3}
root = "${folder}/root"
state = "${folder}/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
address = "${socket}"
[ttrpc]
address = "${socket}.ttrpc"
[plugins."${snapshots}]
snapshotter = "native"
[plugins."${images}".registry]
config_path = "${hostsFolder}"
${release === 2 ? transferSettings() : ""}`;
}

/** Release 2 unpacks in its transfer service, which knows only the snapshotters named here. */
function transferSettings(): string {
  return `[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "linux/${process.arch === "x64" ? "amd64" : process.arch}"
snapshotter = "native"
differ = "walking"
`;
}

function requireRoot(tool: string): void {
  if (process.getuid?.() !== 0) throw new ToolUnavailable(tool, "needs root", true);
}
