// Logging in and out: the registry checks name and password before they are stored. Not here: the file (../contexts.ts).
import { resolve } from "node:path";
import { getMe } from "@berth/api/users";
import { ask, isInteractive, readPassword } from "../ask.ts";
import { connectTo, environmentCredentials } from "../connect.ts";
import { type Contexts, getContext, isLocal, nameOf, originOf, readContexts, withContext, writeContexts } from "../contexts.ts";
import { askByDevice } from "../device-login.ts";
import { EXIT, Misuse } from "../misuse.ts";
import { note, type Streams } from "../streams.ts";
import type { Given } from "../verb.ts";

/** Logs in, and makes the registry's context the current one. */
export async function login({ words: [word], options }: Given, streams: Streams): Promise<number> {
  const all = await readContexts(streams.env);
  const { registry, name } = registryOf(all, word, options, streams);
  const known = all.contexts[name];
  if (known !== undefined && known.registry !== registry) {
    throw new Misuse(`the context ${name} is of ${known.registry}: give another --name, or remove it with berth context remove ${name}`);
  }
  const own = environmentCredentials(streams.env);
  const isIdToken = options["oidc-token"] === true;
  const isFromInput = options["password-stdin"] === true || isIdToken;
  const given = options["user"] as string | undefined;
  const byToken = options["token"] === true;
  if (options["web"] === true) {
    if (byToken || isFromInput || given !== undefined) throw new Misuse("--web asks the browser who you are: leave out the other ways");
    return loginByWeb({ registry, name, caFile: options["ca-file"] as string | undefined }, streams);
  }
  if (byToken && (isIdToken || given !== undefined))
    throw new Misuse("a personal token says whose it is: leave out --user and --oidc-token");
  const named = byToken ? undefined : isIdToken ? idTokenName(given) : (given ?? own?.name ?? (await askName(streams)));
  const { host, protocol } = new URL(registry);
  if (protocol === "http:" && !isLocal(host))
    note(streams, `berth: ${registry} is plain HTTP: everybody on the way can read the password.`);
  const isOwn = own !== undefined && own.name === named && !isFromInput;
  const question = named === undefined ? `Personal token at ${host}: ` : `Password of ${named} at ${host}: `;
  const password = isOwn ? own.secret : await readPassword(streams, question, isFromInput);
  const authorities = (options["ca-file"] as string | undefined) ?? streams.env["BERTH_CA_FILE"];
  const caFile = authorities === undefined ? known?.caFile : resolve(authorities);
  const credentials = { name: named, secret: password };
  const me = await connectTo({ registry, contextName: name, credentials, caFile }).call(getMe, { signal: streams.signal });
  const user = named ?? me.name;
  // Contexts that another login wrote meanwhile are kept.
  const latest = await readContexts(streams.env);
  await writeContexts(streams.env, withContext(latest, name, { registry, user, password, ...(caFile !== undefined && { caFile }) }));
  note(streams, `You are logged in to ${registry} as ${user}. It is the current context, ${name}.`);
  return EXIT.ok;
}

/** Logs in with a browser, which may be on another machine. */
async function loginByWeb(target: { registry: string; name: string; caFile: string | undefined }, streams: Streams): Promise<number> {
  const { registry, name } = target;
  const authorities = target.caFile ?? streams.env["BERTH_CA_FILE"] ?? (await readContexts(streams.env)).contexts[name]?.caFile;
  const caFile = authorities === undefined ? undefined : resolve(authorities);
  const { user, secret: password } = await askByDevice({ registry, caFile }, streams);
  const latest = await readContexts(streams.env);
  await writeContexts(streams.env, withContext(latest, name, { registry, user, password, ...(caFile !== undefined && { caFile }) }));
  note(streams, `You are logged in to ${registry} as ${user}, by a token: see berth token list. It is the current context, ${name}.`);
  return EXIT.ok;
}

/** The name that an ID token goes with: of the robot that it is to become, or of whichever it becomes. */
function idTokenName(robot: string | undefined): string {
  if (robot === undefined) return "oidc";
  if (!robot.includes("+")) throw new Misuse("with --oidc-token, --user names a robot: PROJECT+NAME, or +NAME for one of the registry");
  return robot.startsWith("oidc+") ? robot : `oidc+${robot}`;
}

function registryOf(
  all: Contexts,
  word: string | undefined,
  options: Given["options"],
  { env }: Streams,
): { registry: string; name: string } {
  const address = word ?? (options["registry"] as string | undefined) ?? (env["BERTH_REGISTRY"] || undefined);
  const named = options["name"] as string | undefined;
  if (options["context"] !== undefined && (address !== undefined || named !== undefined)) {
    throw new Misuse("--context names a context that there is: leave out the registry and --name");
  }
  if (address !== undefined && options["context"] === undefined) {
    const registry = originOf(address);
    return { registry, name: named ?? nameOf(registry) };
  }
  const current = (options["context"] as string | undefined) ?? all.current;
  if (current === null) throw new Misuse("`berth login` needs REGISTRY: its address, such as registry.example.com");
  const { registry } = getContext(all, current);
  return { registry, name: named ?? current };
}

async function askName(streams: Streams): Promise<string> {
  if (!isInteractive(streams)) throw new Misuse("nobody can type a name here: give it with --user, and the password with --password-stdin");
  const name = (await ask(streams, "Name: ")).trim();
  if (name === "") throw new Misuse("a name is needed");
  return name;
}

/** Removes name and password; the registry stays known. */
export async function logout({ words: [word], options }: Given, streams: Streams): Promise<number> {
  const all = await readContexts(streams.env);
  const address = word ?? (options["registry"] as string | undefined);
  const origin = address === undefined ? undefined : originOf(address);
  const chosen = (options["context"] as string | undefined) ?? all.current;
  const names = Object.keys(all.contexts).filter((name) =>
    origin === undefined ? name === chosen : all.contexts[name]?.registry === origin,
  );
  if (names.length === 0) throw new Misuse(`there is nothing to log out of: ${origin ?? chosen ?? "no context is the current one"}`);
  const contexts = Object.fromEntries(
    Object.entries(all.contexts).map(([name, context]) => {
      const { user: _user, password: _password, ...rest } = context;
      return [name, names.includes(name) ? rest : context];
    }),
  );
  await writeContexts(streams.env, { ...all, contexts });
  for (const name of names) note(streams, `You are logged out of ${name}.`);
  return EXIT.ok;
}
