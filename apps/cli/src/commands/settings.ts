// Settings of the registry that change at run time. Not here: those of its configuration (berth-server).
import { listSettings as listOperation, type SettingsChange, updateSettings } from "@berth/api/settings";
import { connect } from "../connect.ts";
import { EXIT } from "../misuse.ts";
import { type OutputForm, printList } from "../print.ts";
import type { Streams } from "../streams.ts";
import type { Given } from "../verb.ts";

const COLUMNS = [
  { title: "SETTING", of: "path" },
  { title: "VALUE", of: "value" },
  { title: "CONFIGURED", of: "configured" },
  { title: "FROM", of: "source" },
  { title: "FIXED BY", of: "fixedBy" },
  { title: "ABOUT", of: "about", wide: true },
];

/** Lists them. */
export async function listSettings(given: Given, streams: Streams): Promise<number> {
  const { items } = await (await connect(given, streams)).call(listOperation, { signal: streams.signal });
  return print(items, given, streams);
}

/** Sets a value. */
export function setSetting(given: Given, streams: Streams): Promise<number> {
  return change(given, streams, given.words[1] ?? "");
}

/** Resets a value: the configured one applies again. */
export function resetSetting(given: Given, streams: Streams): Promise<number> {
  return change(given, streams, null);
}

async function change(given: Given, streams: Streams, value: string | null): Promise<number> {
  const [path = ""] = given.words;
  const client = await connect(given, streams);
  // The registry knows which settings exist: it may be newer than this program.
  const body = { [path]: value } as SettingsChange;
  const { items } = await client.call(updateSettings, { body, signal: streams.signal });
  return print(
    items.filter((item) => item.path === path),
    given,
    streams,
  );
}

function print(items: readonly unknown[], { options }: Given, streams: Streams): number {
  printList(streams, (options["output"] ?? "table") as OutputForm, COLUMNS, items);
  return EXIT.ok;
}
