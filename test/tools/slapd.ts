// OpenLDAP's slapd for tests, with TLS, StartTLS, nested groups and a password policy; what is in it comes from the test. Not here: installing it
// (install.ts), what tests ask it.
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { ensureTool, findInPath, ToolUnavailable } from "./install.ts";
import { freePort, type Program, startProgram, temporaryFolder } from "./processes.ts";

const run = promisify(execFile);

/** A directory. */
export interface Slapd {
  /** `ldap://` and `ldaps://`. */
  readonly url: string;
  readonly secureUrl: string;
  /** PEM file of the authority that its certificate is of. */
  readonly caFile: string;
  /** Adds, changes and deletes entries, in LDIF. */
  change(ldif: string): Promise<void>;
  /** Operations of a kind that it has been asked for. */
  count(operation: "bind" | "search"): Promise<number>;
  /** Ends it as a power cut would; `resume` starts it again, with what it had, at the same ports. */
  kill(): Promise<void>;
  resume(): Promise<void>;
  /** Pauses it: connections stay, and nothing answers. `letGo` continues it. */
  hold(): Promise<void>;
  letGo(): void;
  stop(): Promise<void>;
}

/** The suffix of what is in it. */
export const SUFFIX = "dc=example,dc=test";
/** Who may do everything, and who only reads. */
export const ROOT = { dn: `cn=admin,${SUFFIX}`, password: "secret" } as const;
export const READER = { dn: `cn=reader,${SUFFIX}`, password: "reader-password" } as const;

const MONITOR = "cn=reader,cn=Monitor";

/** Starts it with these entries besides the suffix, `ou=people`, `ou=groups` and the reader. Errors: ToolUnavailable. */
export async function startSlapd(ldif = ""): Promise<Slapd> {
  const command = await ensureTool("slapd");
  const modify = await ensureTool("ldapmodify");
  const openssl = findInPath("openssl");
  if (openssl === undefined) throw new ToolUnavailable("openssl", "not installed", true);
  const folder = await temporaryFolder("slapd");
  await mkdir(join(folder, "db"));
  await makeCertificates(openssl, folder);
  const settings = join(folder, "slapd.conf");
  await writeFile(settings, settingsOf(folder));
  await writeFile(join(folder, "base.ldif"), baseOf() + ldif);
  await run("/usr/sbin/slapadd", ["-f", settings, "-l", join(folder, "base.ldif"), "-b", SUFFIX]);
  const [port, securePort] = [await freePort(), await freePort()];
  const url = `ldap://127.0.0.1:${port}`;
  const secureUrl = `ldaps://127.0.0.1:${securePort}`;
  const ask = (tool: string, args: readonly string[]) =>
    run(tool, ["-x", "-H", url, ...args], { timeout: 60_000, maxBuffer: 16 * 1024 * 1024 });
  const search = join(modify, "../ldapsearch");
  const begin = (): Promise<Program> =>
    startProgram({
      command,
      args: ["-f", settings, "-h", `${url}/ ${secureUrl}/`, "-d", "0"],
      folder,
      ready: async () => {
        await ask(search, ["-b", "", "-s", "base", "namingContexts"]);
        return true;
      },
    });
  let program = await begin();
  let changes = 0;
  return {
    url,
    secureUrl,
    caFile: join(folder, "ca.pem"),
    async change(text) {
      const file = join(folder, `change-${changes++}.ldif`);
      await writeFile(file, text);
      await ask(modify, ["-D", ROOT.dn, "-w", ROOT.password, "-f", file]);
    },
    async count(operation) {
      const base = `cn=${operation},cn=Operations,cn=Monitor`;
      const { stdout } = await ask(search, ["-D", MONITOR, "-w", ROOT.password, "-LLL", "-b", base, "-s", "base", "monitorOpInitiated"]);
      return Number(/monitorOpInitiated: (\d+)/.exec(stdout)?.[1]);
    },
    kill: () => program.end("SIGKILL"),
    async resume() {
      program = await begin();
    },
    async hold() {
      process.kill(program.pid, "SIGSTOP");
      // Its threads stop one after the other, a moment later.
      while (!(await isStopped(program.pid))) await sleep(5);
    },
    letGo: () => void process.kill(program.pid, "SIGCONT"),
    async stop() {
      try {
        process.kill(program.pid, "SIGCONT");
      } catch {
        // It has ended already.
      }
      await program.stop();
    },
  };
}

/** Whether all threads of a process are stopped. */
async function isStopped(pid: number): Promise<boolean> {
  const threads = await readdir(`/proc/${pid}/task`);
  const states = await Promise.all(threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/stat`, "utf8")));
  // The state follows the name, which is in parentheses.
  return states.every((text) => text.slice(text.lastIndexOf(")") + 2).startsWith("T"));
}

async function makeCertificates(openssl: string, folder: string): Promise<void> {
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
  const at = (name: string): string => join(folder, name);
  const ca = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign"];
  await run(openssl, ["req", "-x509", ...ec, "-subj", "/CN=test authority", ...ca, "-keyout", at("ca.key"), "-out", at("ca.pem")]);
  const names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"];
  const by = ["-CA", at("ca.pem"), "-CAkey", at("ca.key")];
  await run(openssl, [
    "req",
    "-x509",
    ...ec,
    "-subj",
    "/CN=localhost",
    ...names,
    ...by,
    "-keyout",
    at("server.key"),
    "-out",
    at("server.pem"),
  ]);
}

function baseOf(): string {
  return `dn: ${SUFFIX}
objectClass: dcObject
objectClass: organization
o: example
dc: example

dn: ou=people,${SUFFIX}
objectClass: organizationalUnit
ou: people

dn: ou=groups,${SUFFIX}
objectClass: organizationalUnit
ou: groups

dn: ${READER.dn}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: ${READER.password}

`;
}

/** Somebody, in LDIF. */
export function personLdif(uid: string, password: string, more: Readonly<Record<string, string>> = {}): string {
  const attributes = { cn: uid, sn: uid, mail: `${uid}@example.test`, ...more };
  const lines = Object.entries(attributes).map(([name, value]) => `${name}:: ${Buffer.from(value).toString("base64")}`);
  return `dn: uid=${uid},ou=people,${SUFFIX}
objectClass: inetOrgPerson
uid: ${uid}
userPassword: ${password}
${lines.join("\n")}

`;
}

/** A group of people and groups, by their DNs, in LDIF. */
export function groupLdif(cn: string, members: readonly string[]): string {
  return `dn: cn=${cn},ou=groups,${SUFFIX}
objectClass: groupOfNames
cn: ${cn}
${members.map((member) => `member: ${member}`).join("\n")}

`;
}

function settingsOf(folder: string): string {
  return `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
include /etc/ldap/schema/dyngroup.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload back_monitor
moduleload dynlist
moduleload ppolicy
pidfile ${folder}/slapd.pid
TLSCACertificateFile ${folder}/ca.pem
TLSCertificateFile ${folder}/server.pem
TLSCertificateKeyFile ${folder}/server.key
sizelimit size.soft=500 size.hard=5000 size.prtotal=unlimited
database mdb
suffix ${SUFFIX}
rootdn ${ROOT.dn}
rootpw ${ROOT.password}
directory ${folder}/db
maxsize 104857600
access to attrs=userPassword by self write by anonymous auth by * none
access to * by users read by anonymous none
overlay dynlist
dynlist-attrset groupOfURLs memberURL member+memberOf@groupOfNames*
overlay ppolicy
database monitor
rootdn ${MONITOR}
rootpw ${ROOT.password}
access to * by * none
`;
}
