// `docker-credential-berth`: docker, podman and others read the names and passwords of the contexts through it, and store theirs. Not here:
// contexts (contexts.ts). Source: https://github.com/docker/docker-credential-helpers, "Development".
import { type Contexts, nameOf, originOf, readContexts, withContext, withoutContext, writeContexts } from "./contexts.ts";
import { EXIT, Misuse, Stopped } from "./misuse.ts";
import { printLine, type Streams } from "./streams.ts";

/** Clients recognise this exact text, and continue without credentials. */
const NOT_FOUND = "credentials not found in native keychain";
/** The most that is read from a client. */
const MAX_INPUT_CHARACTERS = 64 * 1024;

const USAGE = "docker-credential-berth get|store|erase|list: see docs/guide/cli.md, `With docker`";

/** Runs one action; returns the exit code. Errors are printed to standard output, where clients look for them. */
export async function runCredentialHelper(args: readonly string[], streams: Streams): Promise<number> {
  try {
    if (args.length !== 1) throw new Misuse(USAGE);
    await runAction(args[0] ?? "", streams);
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof Misuse) && !(error instanceof Stopped)) throw error;
    printLine(streams, error.message);
    return EXIT.failed;
  }
}

async function runAction(action: string, streams: Streams): Promise<void> {
  const all = await readContexts(streams.env);
  if (action === "list") {
    const known = Object.values(all.contexts).flatMap(({ registry, user }) => (user === undefined ? [] : [[hostOf(registry), user]]));
    return printLine(streams, JSON.stringify(Object.fromEntries(known)));
  }
  const input = await readInput(streams);
  if (action === "get") return get(all, input.trim(), streams);
  if (action === "erase") return erase(all, input.trim(), streams);
  if (action !== "store") throw new Misuse(USAGE);
  return store(all, input, streams);
}

function get(all: Contexts, server: string, streams: Streams): void {
  const name = findName(all, server);
  const { user, password } = name === undefined ? {} : (all.contexts[name] ?? {});
  if (user === undefined || password === undefined) throw new Stopped(NOT_FOUND);
  printLine(streams, JSON.stringify({ ServerURL: server, Username: user, Secret: password }));
}

async function store(all: Contexts, input: string, streams: Streams): Promise<void> {
  const { ServerURL: server, Username: user, Secret: password } = parse(input);
  if (typeof server !== "string" || typeof user !== "string" || typeof password !== "string") {
    throw new Stopped("ServerURL, Username and Secret are needed");
  }
  const name = findName(all, server);
  const registry = name === undefined ? originOf(server) : all.contexts[name]!.registry;
  const { contexts } = withContext(all, name ?? nameOf(registry), {
    ...(name === undefined ? {} : all.contexts[name]),
    registry,
    user,
    password,
  });
  // A registry that docker logs in to does not become the current context of `berth`, unless it is the only one.
  await writeContexts(streams.env, { current: all.current ?? name ?? nameOf(registry), contexts });
}

async function erase(all: Contexts, server: string, streams: Streams): Promise<void> {
  const name = findName(all, server);
  if (name !== undefined) await writeContexts(streams.env, withoutContext(all, name));
}

/** The context of a registry: the current one first, if there are several. Clients send only the host, or an address. */
function findName({ current, contexts }: Contexts, server: string): string | undefined {
  const host = hostOf(originOf(server));
  const names = Object.keys(contexts).filter((name) => hostOf(contexts[name]!.registry) === host);
  return names.find((name) => name === current) ?? names[0];
}

/** The host as clients name it in an image. */
const hostOf = (origin: string): string => new URL(origin).host;

async function readInput({ stdin }: Streams): Promise<string> {
  let text = "";
  for await (const piece of stdin) {
    text += String(piece);
    if (text.length > MAX_INPUT_CHARACTERS) throw new Stopped("the input is too long");
  }
  return text;
}

function parse(text: string): Readonly<Record<string, unknown>> {
  try {
    return (JSON.parse(text) ?? {}) as Readonly<Record<string, unknown>>;
  } catch (error) {
    if (error instanceof SyntaxError) throw new Stopped("the input is no JSON");
    throw error;
  }
}
