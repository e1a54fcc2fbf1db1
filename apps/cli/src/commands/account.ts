// The caller's own account: its name and roles, and its password. Not here: other users (../verbs/projects.ts).
import { changeMyPassword, getMe } from "@berth/api/users";
import { isInteractive, readNewPassword, readPassword } from "../ask.ts";
import { connectTo, findTarget } from "../connect.ts";
import { getContext, readContexts, writeContexts } from "../contexts.ts";
import { EXIT, Misuse } from "../misuse.ts";
import { type OutputForm, printOne } from "../print.ts";
import { note, type Streams } from "../streams.ts";
import type { Given } from "../verb.ts";

/** Shows the caller and the registry. */
export async function showCaller(given: Given, streams: Streams): Promise<number> {
  const target = await findTarget(given, streams);
  const me = await connectTo(target).call(getMe, { signal: streams.signal });
  const columns = [
    { title: "NAME", of: "name" },
    { title: "KIND", of: "kind" },
    { title: "ADMINISTRATOR", of: "isAdmin" },
    { title: "REGISTRY", of: "registry" },
    { title: "CONTEXT", of: "context" },
  ];
  const shown = { ...me, registry: target.registry, context: target.contextName ?? null };
  printOne(streams, (given.options["output"] ?? "table") as OutputForm, columns, shown);
  return EXIT.ok;
}

/** Changes the caller's password, in the registry and in the context. */
export async function changePassword(given: Given, streams: Streams): Promise<number> {
  const target = await findTarget(given, streams);
  const { credentials, contextName } = target;
  if (credentials === undefined) throw new Misuse("nobody is logged in: use `berth login`");
  // A person proves that they are still the one who logged in; a script has the password anyway.
  const currentPassword = isInteractive(streams) ? await readPassword(streams, "Current password: ", false) : credentials.secret;
  const newPassword = await readNewPassword(streams, "New password: ", given.options["password-stdin"] === true);
  const body = { currentPassword, newPassword };
  await connectTo(target).call(changeMyPassword, { body, signal: streams.signal });
  const all = await readContexts(streams.env);
  const context = contextName === undefined ? undefined : getContext(all, contextName);
  if (contextName !== undefined && context !== undefined && context.user === credentials.name) {
    const contexts = { ...all.contexts, [contextName]: { ...context, password: newPassword } };
    await writeContexts(streams.env, { ...all, contexts });
  }
  note(streams, `The password of ${credentials.name} is changed. Log in again wherever the old one is used.`);
  return EXIT.ok;
}
