// Installs the real clients, servers and suites that tests run: from Debian or PyPI, or built by Go at a pinned version. Here: the table of tools,
// `ensureTool` (a path, built only if missing), `requireTool` (for tests), and the command `node test/tools/install.ts all|NAME...`.
// Starting the servers is in servers.ts.
import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/** How a tool gets onto the machine. */
type Recipe =
  /** A Debian package; `binary` is the command's name, or its absolute path when it is not in PATH. */
  | { readonly how: "apt"; readonly packages: readonly string[]; readonly binary: string }
  /** `go install path@version`. */
  | { readonly how: "go-install"; readonly path: string; readonly version: string }
  /**
   * `go build path` in a go.mod of its own, for modules that `go install` refuses (replace directives, or no version
   * list).
   */
  | {
      readonly how: "go-module";
      readonly module: string;
      readonly path: string;
      readonly version: string;
    }
  /** A Python package with a command of its name, in a virtual environment of its own. */
  | { readonly how: "pip"; readonly package: string; readonly version: string };

// The newest at the time of pinning; the daemon and its client come from one release.
const containerdVersion = "v2.4.2";

/** Every tool that tests may ask for. Go tools stand in build order: what most tests need comes first. */
const recipes = {
  distribution: {
    how: "go-install",
    path: "github.com/distribution/distribution/v3/cmd/registry",
    version: "v3.1.2",
  },
  conformance: {
    how: "go-install",
    path: "github.com/opencontainers/distribution-spec/conformance",
    version: "v0.0.0-20260831232431-97274622c111",
  },
  crane: {
    how: "go-install",
    path: "github.com/google/go-containerregistry/cmd/crane",
    version: "v0.22.1",
  },
  oras: { how: "go-install", path: "oras.land/oras/cmd/oras", version: "v1.3.6" },
  regctl: {
    how: "go-install",
    path: "github.com/regclient/regclient/cmd/regctl",
    version: "v0.11.7",
  },
  versitygw: {
    how: "go-install",
    path: "github.com/versity/versitygw/cmd/versitygw",
    version: "v1.8.0",
  },
  notation: {
    how: "go-module",
    module: "github.com/notaryproject/notation",
    path: "github.com/notaryproject/notation/cmd/notation",
    version: "v1.3.2",
  },
  containerd2: {
    how: "go-install",
    path: "github.com/containerd/containerd/v2/cmd/containerd",
    version: containerdVersion,
  },
  ctr2: {
    how: "go-install",
    path: "github.com/containerd/containerd/v2/cmd/ctr",
    version: containerdVersion,
  },
  // Speaks CRI as a kubelet does; its module's version list is not served.
  crictl: {
    how: "go-module",
    module: "sigs.k8s.io/cri-tools",
    path: "sigs.k8s.io/cri-tools/cmd/crictl",
    version: "v1.36.0",
  },
  helm: { how: "go-install", path: "helm.sh/helm/v4/cmd/helm", version: "v4.3.1" },
  cosign: {
    how: "go-install",
    path: "github.com/sigstore/cosign/v3/cmd/cosign",
    version: "v3.1.3",
  },

  schemathesis: { how: "pip", package: "schemathesis", version: "4.32.5" },

  skopeo: { how: "apt", packages: ["skopeo"], binary: "skopeo" },
  buildah: { how: "apt", packages: ["buildah"], binary: "buildah" },
  podman: { how: "apt", packages: ["podman"], binary: "podman" },
  umoci: { how: "apt", packages: ["umoci"], binary: "umoci" },
  chromium: { how: "apt", packages: ["chromium"], binary: "chromium" },
  wrk: { how: "apt", packages: ["wrk"], binary: "wrk" },
  containerd1: { how: "apt", packages: ["containerd", "runc"], binary: "/usr/bin/containerd" },
  ctr1: { how: "apt", packages: ["containerd", "runc"], binary: "/usr/bin/ctr" },
  // Absolute: a docker of another origin may stand before Debian's in PATH.
  docker: { how: "apt", packages: ["docker.io", "runc"], binary: "/usr/bin/docker" },
  dockerd: { how: "apt", packages: ["docker.io", "runc", "iptables"], binary: "/usr/sbin/dockerd" },
  "docker-compose": { how: "apt", packages: ["docker-compose"], binary: "docker-compose" },
  debootstrap: { how: "apt", packages: ["debootstrap"], binary: "debootstrap" },
  ip: { how: "apt", packages: ["iproute2"], binary: "ip" },
  iptables: { how: "apt", packages: ["iptables"], binary: "iptables" },
  prometheus: { how: "apt", packages: ["prometheus"], binary: "prometheus" },
  promtool: { how: "apt", packages: ["prometheus"], binary: "promtool" },
  "docker-registry": { how: "apt", packages: ["docker-registry"], binary: "docker-registry" },
  nginx: { how: "apt", packages: ["nginx-light"], binary: "/usr/sbin/nginx" },
  haproxy: { how: "apt", packages: ["haproxy"], binary: "/usr/sbin/haproxy" },
  caddy: { how: "apt", packages: ["caddy"], binary: "caddy" },
  postgres: {
    how: "apt",
    packages: ["postgresql", "postgresql-15"],
    binary: "/usr/lib/postgresql/15/bin/postgres",
  },
  slapd: { how: "apt", packages: ["slapd", "ldap-utils"], binary: "/usr/sbin/slapd" },
  ldapmodify: { how: "apt", packages: ["ldap-utils"], binary: "/usr/bin/ldapmodify" },
  radosgw: {
    how: "apt",
    packages: ["ceph-mon", "ceph-osd", "radosgw", "ceph-common", "curl"],
    binary: "radosgw",
  },
} as const satisfies Record<string, Recipe>;

/** The name of a tool in the table. */
export type ToolName = keyof typeof recipes;

/** All names, in the order in which `install.ts all` takes them. */
export const toolNames = Object.keys(recipes) as readonly ToolName[];

/**
 * A tool is not available. `machineLacks` true: this machine has no way to get it (no Go, no apt, not root); false: it has one and the
 * attempt failed, which a run with CI=true must not ignore.
 */
export class ToolUnavailable extends Error {
  override readonly name = "ToolUnavailable";
  readonly tool: string;
  readonly machineLacks: boolean;

  constructor(tool: string, reason: string, machineLacks: boolean, cause?: unknown) {
    super(`${tool}: ${reason}`, { cause });
    this.tool = tool;
    this.machineLacks = machineLacks;
  }
}

/** Skip reasons that begin with this are accepted: run-tests.ts does not count them as failures with CI=true. */
export const cannotRunHere = "cannot run here: ";

/** The cache folder for everything tests install: `BERTH_TEST_CACHE`, else `~/.cache/berth-test`. */
export function cacheFolder(): string {
  return process.env["BERTH_TEST_CACHE"] ?? join(homedir(), ".cache", "berth-test");
}

/** The absolute path of a tool's binary, which is installed first when missing. Errors: ToolUnavailable. */
export async function ensureTool(name: ToolName): Promise<string> {
  const recipe: Recipe = recipes[name];
  switch (recipe.how) {
    case "apt":
      return ensureFromApt(name, recipe);
    case "pip":
      return ensureFromPip(name, recipe);
    default:
      return ensureFromGo(name, recipe);
  }
}

/**
 * A tool's path for a test, or undefined after `t.skip` with the reason, whereupon the test returns.
 * With CI=true the test fails instead of skipping when the machine could have had the tool.
 */
export async function requireTool(t: TestContext, name: ToolName): Promise<string | undefined> {
  try {
    return await ensureTool(name);
  } catch (error) {
    skipOrThrow(t, error);
    return undefined;
  }
}

/** Skips the test for a `ToolUnavailable` as `requireTool` does; throws every other error on. */
export function skipOrThrow(t: Pick<TestContext, "skip">, error: unknown): void {
  if (!(error instanceof ToolUnavailable)) throw error;
  if (process.env["CI"] === "true" && !error.machineLacks) throw error;
  t.skip(error.machineLacks ? cannotRunHere + error.message : error.message);
}

/** The first file of that name in PATH, or undefined; an absolute path is only checked to exist. */
export function findInPath(binary: string): string | undefined {
  if (binary.startsWith("/")) return existsSync(binary) ? binary : undefined;
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return folders.map((folder) => join(folder, binary)).find((path) => existsSync(path));
}

async function ensureFromApt(name: ToolName, recipe: Recipe & { how: "apt" }): Promise<string> {
  const present = findInPath(recipe.binary);
  if (present !== undefined) return present;
  const apt = findInPath("apt-get");
  if (apt === undefined) throw new ToolUnavailable(name, "not installed, and no apt-get", true);
  if (process.getuid?.() !== 0) {
    throw new ToolUnavailable(name, `not installed; as root: apt-get install ${recipe.packages.join(" ")}`, true);
  }
  await withLock("apt", async () => {
    if (findInPath(recipe.binary) !== undefined) return;
    try {
      await aptInstall(apt, recipe.packages);
    } catch (error) {
      throw new ToolUnavailable(name, `apt-get failed: ${lastLines(error)}`, false, error);
    }
  });
  const installed = findInPath(recipe.binary);
  if (installed === undefined) {
    throw new ToolUnavailable(name, `${recipe.packages.join(" ")} brought no ${recipe.binary}`, false);
  }
  return installed;
}

async function aptInstall(apt: string, packages: readonly string[]): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  // Another apt may hold the machine's lock: wait for it, 300 s being more than any install here takes.
  const options = ["-y", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=5"];
  const buffer = { env, maxBuffer: 64 * 1024 * 1024 };
  const install = () => run(apt, [...options, "install", "--no-install-recommends", ...packages], buffer);
  try {
    await install();
  } catch {
    // A new machine has no package lists, an old one has outdated ones; only the second failure counts.
    await insist(async () => {
      await run(apt, [...options, "update"], buffer);
      await install();
    });
  }
}

/** Tries three times, with pauses: for downloads from mirrors and proxies, which may fail for a moment. */
export async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (const pauseMs of [5_000, 30_000]) {
    try {
      return await work();
    } catch (error) {
      console.error(`tried again in ${pauseMs / 1000} s: ${lastLines(error)}`);
      await sleep(pauseMs);
    }
  }
  return work();
}

async function ensureFromPip(name: ToolName, recipe: Recipe & { how: "pip" }): Promise<string> {
  const environment = join(cacheFolder(), `${name}-${recipe.version}`);
  const binary = join(environment, "bin", recipe.package);
  if (existsSync(binary)) return binary;
  const isDebian = findInPath("apt-get") !== undefined && process.getuid?.() === 0;
  // Debian's Python cannot make environments without this package; another Python of the machine may come first in PATH.
  const python = isDebian
    ? await ensureFromApt(name, { how: "apt", packages: ["python3-venv", "python3-pip"], binary: "/usr/bin/pip3" })
    : undefined;
  const interpreter = python === undefined ? findInPath("python3") : "/usr/bin/python3";
  if (interpreter === undefined) throw new ToolUnavailable(name, "not installed, and no Python on this machine", true);
  await withLock(`${name}-${recipe.version}`, async () => {
    if (existsSync(binary)) return;
    const buffer = { maxBuffer: 64 * 1024 * 1024 };
    try {
      await insist(async () => {
        // Programs of an environment have its path written in them, so that it cannot be made elsewhere and moved.
        await rm(environment, { recursive: true, force: true });
        await run(interpreter, ["-m", "venv", environment], buffer);
        await run(join(environment, "bin", "pip"), ["install", "--quiet", `${recipe.package}==${recipe.version}`], buffer);
      });
    } catch (error) {
      await rm(environment, { recursive: true, force: true });
      throw new ToolUnavailable(name, `pip failed: ${lastLines(error)}`, false, error);
    }
  });
  return binary;
}

type GoRecipe = Exclude<Recipe, { how: "apt" | "pip" }>;

async function ensureFromGo(name: ToolName, recipe: GoRecipe): Promise<string> {
  const folder = join(cacheFolder(), "bin");
  const binary = join(folder, `${name}-${recipe.version}`);
  if (existsSync(binary)) return binary;
  const go = findInPath("go") ?? findInPath("/usr/local/go/bin/go");
  if (go === undefined) throw new ToolUnavailable(name, "not built, and no Go on this machine", true);
  // containerd 2.4 asks for 1.26; Debian 12's own Go is 1.19.
  const { stdout } = await run(go, ["env", "GOVERSION"]);
  const minor = Number(/^go1\.(\d+)/.exec(stdout)?.[1] ?? 0);
  if (minor < 26) throw new ToolUnavailable(name, `needs Go 1.26, found ${stdout.trim()}`, true);
  await mkdir(folder, { recursive: true });
  await withLock(`${name}-${recipe.version}`, async () => {
    if (existsSync(binary)) return;
    const work = await mkdtemp(join(cacheFolder(), `build-${name}-`));
    try {
      await rename(await insist(() => build(go, recipe, work)), binary);
    } catch (error) {
      throw new ToolUnavailable(name, `go build failed: ${lastLines(error)}`, false, error);
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  });
  return binary;
}

/** Builds into the empty folder `work` and returns the binary's path there. */
async function build(go: string, recipe: GoRecipe, work: string): Promise<string> {
  // Symbols are left out: linking is most of a warm build, and nobody debugs these.
  const env = {
    ...process.env,
    CGO_ENABLED: "0",
    GOBIN: work,
    GOFLAGS: "-buildvcs=false -ldflags=-s",
  };
  const options = { env, cwd: work, maxBuffer: 64 * 1024 * 1024 };
  if (recipe.how === "go-install") {
    await run(go, ["install", `${recipe.path}@${recipe.version}`], options);
    return join(work, recipe.path.split("/").at(-1) ?? "");
  }
  await writeFile(join(work, "go.mod"), `module testtool\n\ngo 1.25\n\nrequire ${recipe.module} ${recipe.version}\n`);
  await writeFile(join(work, "tools.go"), `//go:build tools\n\npackage tools\n\nimport _ "${recipe.path}"\n`);
  const binary = join(work, "binary.out");
  await run(go, ["build", "-mod=mod", "-o", binary, recipe.path], options);
  return binary;
}

/**
 * Runs `body` while no other process of this machine holds the lock of that name. A child that reads our end of a pipe holds the lock, so
 * that it is released however we die. Without flock(1) there is no lock: builds end in an atomic rename, so that only work is lost.
 */
export async function withLock(name: string, body: () => Promise<void>): Promise<void> {
  const flock = findInPath("flock");
  if (flock === undefined) return body();
  const folder = join(cacheFolder(), "locks");
  await mkdir(folder, { recursive: true });
  const holder = spawn(flock, [join(folder, name), "sh", "-c", "echo held; exec cat >/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await new Promise<void>((resolve, reject) => {
    holder.stdout.once("data", () => resolve());
    holder.once("error", reject);
    holder.once("exit", (code) => reject(new Error(`flock ended with ${code}`)));
  });
  try {
    await body();
  } finally {
    holder.removeAllListeners("exit");
    holder.stdin.end();
  }
}

/** The end of a failed command's output, where apt and go name the cause. */
function lastLines(error: unknown): string {
  const stderr = error instanceof Error && "stderr" in error ? String(error.stderr) : String(error);
  return stderr.trim().split("\n").slice(-5).join("\n");
}

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.filter((name) => name !== "all" && !toolNames.includes(name as ToolName));
  if (names.length === 0 || unknown.length > 0) {
    console.error(`usage: node test/tools/install.ts all|NAME...\nnames: ${toolNames.join(" ")}`);
    return 2;
  }
  let failed = 0;
  // One after the other: a Go build uses all cores by itself.
  for (const name of names.includes("all") ? toolNames : (names as ToolName[])) {
    const startedAt = performance.now();
    try {
      const path = await ensureTool(name);
      console.log(`${name}: ${path} (${((performance.now() - startedAt) / 1000).toFixed(1)} s)`);
    } catch (error) {
      if (!(error instanceof ToolUnavailable)) throw error;
      console.log(`unavailable: ${error.message}`);
      failed++;
    }
  }
  return failed === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main(process.argv.slice(2));
