// The files of deploy/proxies with real proxies and clients: each terminates TLS in front of a Berth, and crane and docker push and pull
// layers larger than any default limit or buffer of the proxy. Names, ports and certificates are filled in as a user would. Not here:
// Traefik and Kubernetes, which this machine cannot run.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { get } from "node:https";
import { connect } from "node:net";
import { join } from "node:path";
import { it, type TestContext } from "node:test";
import { promisify } from "node:util";
import { startDockerd } from "../tools/daemons.ts";
import { ensureTool, requireTool, type ToolName } from "../tools/install.ts";
import { freePort, startProgram, temporaryFolder } from "../tools/processes.ts";
import { type Berth, startBerth } from "./berth.ts";
import { commandsInNewHome } from "./command.ts";
import { readLayout, writeHugeImage, writeImage } from "./images.ts";

const run = promisify(execFile);

const FILES = join(import.meta.dirname, "../../deploy/proxies");
/** More than any of them buffers in memory, and far more than the 1 MiB that nginx accepts by default. */
const LAYER_BYTES = 256 * 1024 * 1024;

interface Proxy {
  readonly tool: ToolName;
  /** Writes the proxy's files into the folder, with the shipped one filled in; returns the command's arguments. */
  arrange(at: { folder: string; shipped: string }): Promise<string[]>;
  readonly file: string;
}

const PROXIES: readonly Proxy[] = [
  {
    tool: "nginx",
    file: "nginx.conf",
    async arrange({ folder, shipped }) {
      await writeFile(join(folder, "berth.conf"), shipped);
      const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`);
      await writeFile(
        join(folder, "nginx.conf"),
        `daemon off;\npid ${folder}/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n${temporary.join("\n")}\ninclude ${folder}/berth.conf;\n}\n`,
      );
      return ["-c", join(folder, "nginx.conf"), "-e", "stderr"];
    },
  },
  {
    tool: "haproxy",
    file: "haproxy.cfg",
    async arrange({ folder, shipped }) {
      // Its own default from the limit of open files takes more memory than a test may.
      await writeFile(join(folder, "haproxy.cfg"), shipped.replace("global\n", "global\n    maxconn 200\n"));
      return ["-db", "-f", join(folder, "haproxy.cfg")];
    },
  },
  {
    tool: "caddy",
    file: "Caddyfile",
    async arrange({ folder, shipped }) {
      // Our own certificate, because Caddy cannot get one for this machine, and none of its default ports.
      const own = shipped.replace(/^(127\.0\.0\.1:\d+) \{$/m, `$1 {\n\ttls ${folder}/fullchain.pem ${folder}/privkey.pem`);
      assert.notEqual(own, shipped);
      await writeFile(join(folder, "Caddyfile"), `{\n\tadmin off\n\tauto_https disable_redirects\n}\n${own}`);
      return ["run", "--adapter", "caddyfile", "--config", join(folder, "Caddyfile")];
    },
  },
];

/** A certificate for 127.0.0.1 in the folder, signed by itself. */
async function makeCertificate(folder: string): Promise<void> {
  const [key, certificate] = [join(folder, "privkey.pem"), join(folder, "fullchain.pem")];
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:TRUE"];
  await run("openssl", [
    "req",
    "-x509",
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:prime256v1",
    "-nodes",
    "-keyout",
    key,
    "-out",
    certificate,
    "-days",
    "2",
    ...subject,
  ]);
  await writeFile(join(folder, "all.pem"), (await readFile(certificate, "utf8")) + (await readFile(key, "utf8")));
}

/** Starts a proxy with its shipped file in front of a Berth; returns its address for clients, and its certificate. */
async function startProxy(t: TestContext, proxy: Proxy, binary: string, berth: Berth): Promise<{ host: string; certificate: string }> {
  const folder = await temporaryFolder(`proxy-${proxy.tool}`);
  await makeCertificate(folder);
  const host = `127.0.0.1:${await freePort()}`;
  const text = await readFile(join(FILES, proxy.file), "utf8");
  const filled = text
    .replaceAll("127.0.0.1:5000", berth.host)
    .replaceAll("/etc/ssl/registry.example.com", folder)
    .replace(/^(\s*listen) 443 /m, `$1 ${host} `)
    .replace(/^(\s*bind) :443 /m, `$1 ${host} `)
    .replace(/^registry\.example\.com \{$/m, `${host} {`);
  const args = await proxy.arrange({ folder, shipped: filled });
  const program = await startProgram({
    command: binary,
    args,
    folder,
    env: { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder },
    ready: () => accepts(host),
  });
  t.after(() => program.stop());
  return { host, certificate: join(folder, "fullchain.pem") };
}

/** The token address that a registry with that certificate sends to clients. */
async function realmAt(host: string, ca: Buffer): Promise<string | undefined> {
  const asked = get(`https://${host}/v2/`, { ca });
  const [answer] = (await once(asked, "response")) as [IncomingMessage];
  answer.resume();
  return /realm="([^"]*)"/.exec(answer.headers["www-authenticate"] ?? "")?.[1];
}

function accepts(host: string): Promise<boolean> {
  const [address, port] = host.split(":") as [string, string];
  return new Promise((resolve) => {
    const socket = connect(Number(port), address);
    socket.once("connect", () => resolve((socket.destroy(), true)));
    socket.once("error", () => resolve(false));
  });
}

for (const proxy of PROXIES) {
  it(`${proxy.tool} with deploy/proxies/${proxy.file} carries what crane and docker push and pull`, async (t) => {
    const binary = await requireTool(t, proxy.tool);
    const crane = binary === undefined ? undefined : await requireTool(t, "crane");
    const docker = crane === undefined ? undefined : await requireTool(t, "docker");
    if (binary === undefined || crane === undefined || docker === undefined) return;
    const berth = await startBerth({ "http.trustedProxies": "127.0.0.1" });
    t.after(() => berth.stop());
    const { host, certificate } = await startProxy(t, proxy, binary, berth);
    const { name, password } = berth.users.developer;
    const home = await commandsInNewHome(`proxied-${proxy.tool}`, () => ({ SSL_CERT_FILE: certificate }));
    t.after(() => home.end());

    await t.test("crane, a large layer", async () => {
      const folder = join(home.home, "huge");
      const image = await writeHugeImage(folder, LAYER_BYTES);
      await home.run(crane, "auth", "login", host, "-u", name, "-p", password);
      await home.run(crane, "push", folder, `${host}/vault/proxied:v1`);
      assert.deepEqual(await berth.contentOf("vault/proxied", "v1"), image.content);
      const back = join(home.home, "back");
      await home.run(crane, "pull", "--format=oci", `${host}/vault/proxied:v1`, back);
      assert.deepEqual((await readLayout(back)).content, image.content);
      for (const each of [folder, back]) await rm(each, { recursive: true });
    });

    await t.test("docker, a name of one segment", async (step) => {
      await ensureTool("dockerd");
      const daemon = await startDockerd();
      step.after(() => daemon.stop());
      const certificates = `/etc/docker/certs.d/${host}`;
      await mkdir(certificates, { recursive: true });
      step.after(() => rm(certificates, { recursive: true, force: true }));
      await writeFile(join(certificates, "ca.crt"), await readFile(certificate));
      const image = await writeImage(join(home.home, "small"), "gzip", proxy.tool);
      await berth.push(image, "vault/docker", "v1");
      const as = (...args: string[]) => home.run(docker, "-H", daemon.host, ...args);
      await as("login", "-u", name, "-p", password, host);
      await as("pull", "-q", `${host}/vault/docker:v1`);
      await as("tag", `${host}/vault/docker:v1`, `${host}/proxied:v2`);
      await as("push", "-q", `${host}/proxied:v2`);
      await berth.contentOf("library/proxied", "v2");
    });

    // docker was sent to this address, and no warning was logged.
    assert.equal(await realmAt(host, await readFile(certificate)), `https://${host}/token`);
  });
}
