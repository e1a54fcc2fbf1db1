// Which registry a call goes to, and as whom: options, then environment, then contexts. A password is never sent to a registry that it was
// not given for. Not here: the file of contexts (contexts.ts).
import { readFileSync } from "node:fs";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { type Client, createClient, type Credentials } from "@berth/api-client/client";
import { type Context, getContext, originOf, readContexts } from "./contexts.ts";
import { Misuse, Stopped } from "./misuse.ts";
import type { Given } from "./verb.ts";
import type { Streams } from "./streams.ts";

/** The target of a call. */
export interface Target {
  readonly registry: string;
  /** Undefined: it comes from no context. */
  readonly contextName: string | undefined;
  readonly credentials: Credentials | undefined;
  readonly caFile: string | undefined;
}

/** Finds the target. Errors: `Misuse` if nothing names a registry. */
export async function findTarget({ options }: Pick<Given, "options">, { env }: Streams): Promise<Target> {
  const all = await readContexts(env);
  const [registry, name] = [options["registry"], options["context"]] as (string | undefined)[];
  if (registry !== undefined && name !== undefined) throw new Misuse("--registry and --context exclude each other");
  const own = environmentCredentials(env);
  const caFile = (options["ca-file"] as string | undefined) ?? env["BERTH_CA_FILE"];
  const of = (contextName: string | undefined, context: Context, credentials: Credentials | undefined): Target => ({
    registry: context.registry,
    contextName,
    credentials,
    caFile: caFile ?? context.caFile,
  });
  if (name !== undefined) {
    const context = getContext(all, name);
    return of(name, context, credentialsOf(context));
  }
  const address = registry ?? (env["BERTH_REGISTRY"] || undefined);
  if (address === undefined) {
    if (all.current === null) throw new Misuse("no registry is chosen: use `berth login REGISTRY`, or give --registry");
    const context = getContext(all, all.current);
    return of(all.current, context, own ?? credentialsOf(context));
  }
  const origin = originOf(address);
  // The current context comes first if several are for one registry.
  const names = Object.keys(all.contexts).toSorted((one, other) => Number(other === all.current) - Number(one === all.current));
  const known = names.find((each) => all.contexts[each]?.registry === origin);
  const context = known === undefined ? { registry: origin } : getContext(all, known);
  return of(known, context, own ?? credentialsOf(context));
}

function credentialsOf({ user, password }: Context): Credentials | undefined {
  return user === undefined || password === undefined ? undefined : { name: user, secret: password };
}

/** BERTH_USER and BERTH_PASSWORD. */
export function environmentCredentials(env: Streams["env"]): Credentials | undefined {
  const [name, secret] = [env["BERTH_USER"] ?? "", env["BERTH_PASSWORD"] ?? ""];
  if (name === "" && secret === "") return undefined;
  if (name === "" || secret === "") throw new Misuse(`BERTH_${name === "" ? "USER" : "PASSWORD"} is missing: both are needed, or neither`);
  return { name, secret };
}

/** A client for a target. */
export function connectTo({ registry, credentials, caFile }: Target): Client {
  if (caFile !== undefined) trust(caFile);
  return createClient({ origin: registry, credentials, userAgent: "berth" });
}

/** Trusts further certificates in the whole process, which speaks to one registry. Errors: `Stopped`. */
export function trust(file: string): void {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new Stopped(`the certificates of --ca-file cannot be read: ${(error as Error).message}`);
  }
  if (!text.includes("-----BEGIN CERTIFICATE-----")) throw new Stopped(`${file} has no certificate: --ca-file takes PEM`);
  try {
    setDefaultCACertificates([...getCACertificates("default"), text]);
  } catch (error) {
    throw new Stopped(`${file} has no certificate that can be read: ${(error as Error).message}`);
  }
}

/** A client for the command line and the environment. */
export async function connect(given: Pick<Given, "options">, streams: Streams): Promise<Client> {
  return connectTo(await findTarget(given, streams));
}
