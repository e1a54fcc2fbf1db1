// Contexts: list, select, remove. Not here: creating one, which is logging in (login.ts).
import { getContext, readContexts, withoutContext, writeContexts } from "../contexts.ts";
import { EXIT } from "../misuse.ts";
import { type OutputForm, printList } from "../print.ts";
import { note, type Streams } from "../streams.ts";
import type { Given } from "../verb.ts";

/** Lists them, without passwords. */
export async function listContexts({ options }: Given, streams: Streams): Promise<number> {
  const { current, contexts } = await readContexts(streams.env);
  const items = Object.entries(contexts).map(([name, { registry, user, caFile }]) => {
    return { name, isCurrent: name === current, registry, user: user ?? null, caFile: caFile ?? null };
  });
  const columns = [
    { title: "CURRENT", of: ({ isCurrent }: { isCurrent: boolean }) => (isCurrent ? "*" : "") },
    { title: "NAME", of: "name" },
    { title: "REGISTRY", of: "registry" },
    { title: "USER", of: "user" },
    { title: "CA FILE", of: "caFile", wide: true },
  ];
  printList(streams, (options["output"] ?? "table") as OutputForm, columns, items);
  return EXIT.ok;
}

/** Selects the current context. */
export async function useContext({ words: [name = ""] }: Given, streams: Streams): Promise<number> {
  const all = await readContexts(streams.env);
  const { registry } = getContext(all, name);
  await writeContexts(streams.env, { ...all, current: name });
  note(streams, `${name} is the current context: ${registry}.`);
  return EXIT.ok;
}

/** Removes a context. */
export async function removeContext({ words: [name = ""] }: Given, streams: Streams): Promise<number> {
  const all = await readContexts(streams.env);
  getContext(all, name);
  await writeContexts(streams.env, withoutContext(all, name));
  note(streams, `The context ${name} is removed.`);
  return EXIT.ok;
}
