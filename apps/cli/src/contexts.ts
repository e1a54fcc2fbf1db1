// The registries that the user has logged in to, in a file that only the user can read. Not here: which of them a call goes to
// (connect.ts).
import { randomBytes } from "node:crypto";
import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { Misuse, Stopped } from "./misuse.ts";

/** One registry, with the caller. */
export interface Context {
  /** Its origin, for example `https://registry.example.com`. */
  readonly registry: string;
  readonly user?: string;
  readonly password?: string;
  /** The absolute path of certificates that are trusted beside the system's. */
  readonly caFile?: string;
}

/** The content of the file. */
export interface Contexts {
  /** The name of the current one; null: none. */
  readonly current: string | null;
  readonly contexts: Readonly<Record<string, Context>>;
}

type Environment = Readonly<Record<string, string | undefined>>;

const NONE: Contexts = { current: null, contexts: {} };
const NAME = /^[A-Za-z0-9][A-Za-z0-9._:@[\]-]{0,254}$/;

/** The path of the file. Source: XDG Base Directory Specification, by which paths that are not absolute are ignored. */
export function contextsFile(env: Environment): string {
  const configured = env["XDG_CONFIG_HOME"];
  const base = configured?.startsWith("/") === true ? configured : join(env["HOME"] ?? homedir(), ".config");
  return join(base, "berth", "config.json");
}

/** The contexts; none if there is no file. Errors: `Stopped` if it cannot be read. */
export async function readContexts(env: Environment): Promise<Contexts> {
  const file = contextsFile(env);
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return NONE;
    throw new Stopped(`${file} cannot be read: ${(error as Error).message}`);
  }
  const found = parse(text);
  if (found === undefined) throw new Stopped(`${file} is damaged: mend it, or remove it and log in again`);
  return found;
}

function parse(text: string): Contexts | undefined {
  let value: Partial<Contexts> | null;
  try {
    value = JSON.parse(text) as Partial<Contexts> | null;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const { current = null, contexts } = value ?? {};
  if (typeof contexts !== "object" || contexts === null || (current !== null && typeof current !== "string")) return undefined;
  const isText = (field: unknown): boolean => field === undefined || typeof field === "string";
  const isGood = Object.values(contexts as Readonly<Record<string, Partial<Context> | null>>).every((each) => {
    const { registry, user, password, caFile } = each ?? {};
    return typeof registry === "string" && URL.canParse(registry) && [user, password, caFile].every(isText);
  });
  return isGood ? { current, contexts } : undefined;
}

/** Writes the file: completely or not at all, and readable only by its owner. */
export async function writeContexts(env: Environment, contexts: Contexts): Promise<void> {
  const file = contextsFile(env);
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  const next = `${file}.${randomBytes(6).toString("hex")}`;
  try {
    await writeFile(next, `${JSON.stringify(contexts, undefined, 2)}\n`, { mode: 0o600, flag: "wx" });
    // The umask may remove bits from the mode of a new file, and some file systems ignore the mode: this sets it in any case.
    await chmod(next, 0o600);
    await rename(next, file);
  } catch (error) {
    await rm(next, { force: true });
    throw error;
  }
}

/** The context of that name. Errors: `Misuse` if there is none. */
export function getContext({ contexts }: Contexts, name: string): Context {
  const context = Object.hasOwn(contexts, name) ? contexts[name] : undefined;
  if (context !== undefined) return context;
  const names = Object.keys(contexts);
  throw new Misuse(`there is no context ${name}: ${names.length === 0 ? "use `berth login`" : `there are ${names.join(", ")}`}`);
}

/** Adds a context, and makes it current. */
export function withContext({ contexts }: Contexts, name: string, context: Context): Contexts {
  if (!NAME.test(name)) throw new Misuse(`${name} is no name for a context: letters, digits and . _ - : @`);
  return { current: name, contexts: { ...contexts, [name]: context } };
}

/** Removes a context. */
export function withoutContext({ current, contexts }: Contexts, name: string): Contexts {
  const rest = Object.fromEntries(Object.entries(contexts).filter(([each]) => each !== name));
  return { current: current === name ? null : current, contexts: rest };
}

/**
 * A registry's origin as people write it: `registry.example.com:5000`, an address, or docker's form. Without a scheme it is HTTPS, but HTTP
 * on this machine, as for other clients. Errors: `Misuse`.
 */
export function originOf(text: string): string {
  const hasScheme = /^[a-z]+:\/\//i.test(text);
  const host = text.replace(/^[a-z]+:\/\//i, "");
  const address = hasScheme ? text : `${isLocal(host) ? "http" : "https"}://${text}`;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol))
    throw new Misuse(`${text} is no address of a registry, such as registry.example.com`);
  if (url.username !== "" || url.password !== "")
    throw new Misuse("a registry's address has no user and no password: give them to `berth login`");
  if (!/^\/(?:v[12]\/?)?$/.test(url.pathname) || url.search !== "") {
    throw new Misuse(`${text} has a path: a registry's address is its host alone, such as ${url.host}`);
  }
  return url.origin;
}

/** Whether an address is of this machine. */
export function isLocal(host: string): boolean {
  return /^(?:localhost|127(?:\.\d+){3}|\[::1\])(?::\d+)?\/?$/i.test(host);
}

/** The default name of a registry's context. */
export function nameOf(origin: string): string {
  return new URL(origin).host;
}
