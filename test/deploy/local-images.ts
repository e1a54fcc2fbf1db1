// Builds the images that deploy/compose/compose.yaml names without pulling any: Berth's own with its real Dockerfile, on a Debian created
// by debootstrap; the others from Debian's packages (services/). Not here: running them (compose.test.ts).
import { execFile } from "node:child_process";
import { cp, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheFolder, ensureTool, insist, withLock } from "../tools/install.ts";

const run = promisify(execFile);
const outputLimit = { maxBuffer: 64 * 1024 * 1024 };
const repository = join(import.meta.dirname, "../..");

const EXTRA_CA = "/extra-ca.crt";

/** Runs `docker` with these arguments. */
export type Docker = (...args: readonly string[]) => Promise<string>;

/** Builds `berth` and the images beside it, in `folder`. Errors: ToolUnavailable. */
export async function buildImages(docker: Docker, folder: string): Promise<void> {
  await importBase(docker);
  const services = join(folder, "services");
  await cp(join(import.meta.dirname, "services"), services, { recursive: true });
  await cp(await ensureTool("versitygw"), join(services, "versitygw"));
  const targets = { postgres: "postgres:17-bookworm", haproxy: "haproxy:3.2", versitygw: "versity/versitygw:v1.8.0" };
  for (const [target, tag] of Object.entries(targets)) {
    await insist(() => docker("build", "-q", "--network=host", "--target", target, "-t", tag, services));
  }
  const context = join(folder, "context");
  await writeContext(context);
  await insist(() => docker("build", "-q", "--network=host", "-f", join(context, "deploy/docker/Dockerfile"), "-t", "berth", context));
}

/** Applies Dockerfile.dockerignore, which the old builder of Debian's docker does not read. */
async function writeContext(context: string): Promise<void> {
  const options = { ...outputLimit, cwd: repository };
  const roots = ["package.json", "package-lock.json", ".npmrc", "apps", "packages", "deploy"];
  const { stdout } = await run("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard", ...roots], options);
  for (const path of stdout.split("\0").filter((name) => name !== "" && !/\.(?:test|testing|contract)\.ts$/.test(name))) {
    await mkdir(join(context, path, ".."), { recursive: true });
    await cp(join(repository, path), join(context, path));
  }
}

/** Debian 12 as `debian:12-slim`, kept as a tar file beside the other tools of the tests. */
async function importBase(docker: Docker): Promise<void> {
  const debootstrap = await ensureTool("debootstrap");
  const tar = join(cacheFolder(), "debian-12.tar");
  await withLock("debian-12", async () => {
    if (existsSync(tar)) return;
    const root = join(cacheFolder(), "debian-12.root");
    try {
      await insist(async () => {
        await rm(root, { recursive: true, force: true });
        await run(debootstrap, ["--variant=minbase", "--include=ca-certificates", "bookworm", root], outputLimit);
      });
      // As Debian's own images do: the packages of a broken build are of no use.
      await writeFile(join(root, "etc/dpkg/dpkg.cfg.d/unsafe-io"), "force-unsafe-io\n");
      // A network that inspects TLS has its own certificate, which the build's npm must trust as well.
      const extra = process.env["NODE_EXTRA_CA_CERTS"];
      if (extra !== undefined) await cp(extra, join(root, EXTRA_CA));
      await run("tar", ["-C", root, "-cf", `${tar}.new`, "."], outputLimit);
      await rename(`${tar}.new`, tar);
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  });
  // Node.js only warns where the file is missing.
  await docker("import", "--change", `ENV NODE_EXTRA_CA_CERTS=${EXTRA_CA}`, tar, "debian:12-slim");
}
