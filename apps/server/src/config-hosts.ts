// The kind of setting that names networks and hosts. Not here: the other kinds (config-kinds.ts), what such an entry opens (platform/outbound-addresses.ts).
import { networks, type Setting } from "./config-kinds.ts";
import { parseAllowed } from "./platform/outbound-addresses.ts";

/** Networks and hosts: a list in the file, separated by commas elsewhere. 256 at most: each is checked per connection. */
export function networksOrHosts(about: string): Setting<readonly string[]> {
  const kind = "networks or hosts such as 10.20.0.0/16, hooks.example.com, *.corp.example.com";
  return {
    ...networks({ about }),
    kind,
    parse(raw) {
      const items: unknown[] | undefined = Array.isArray(raw) ? raw : typeof raw === "string" ? raw.split(",") : undefined;
      const texts = items?.map((item) => (typeof item === "string" ? item.trim().toLowerCase() : "")).filter((item) => item !== "");
      const wrong = texts?.find((text) => parseAllowed(text) === undefined);
      if (texts === undefined || wrong !== undefined) return { ok: false, problem: `must be ${kind}, not ${JSON.stringify(wrong ?? raw)}` };
      if (texts.length > 256) return { ok: false, problem: "holds more than 256 networks and hosts" };
      return { ok: true, value: Object.freeze(texts) };
    },
  };
}
