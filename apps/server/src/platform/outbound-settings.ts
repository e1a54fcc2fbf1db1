// Settings of what the registry connects to by itself: webhooks, upstreams, issuers of identities. Not here: what is connected to when
// (outbound.ts), how settings are read (config-load.ts).
import { flag, networks, optional, path, secret, type Setting } from "../config-kinds.ts";
import { parseAllowed } from "./outbound-addresses.ts";

/** Networks and hosts: a list in the file, separated by commas elsewhere. 256 at most: each is checked per connection. */
function allowed(about: string): Setting<readonly string[]> {
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

export const outboundSettings = {
  allow: allowed(
    "Networks and hosts that are not public and that addresses which users give, such as those of webhooks, may lead to all the same. A host opens private addresses only; link-local and metadata addresses need their own network here. Empty: none.",
  ),
  insecureHttp: flag({
    standard: "false",
    about: "Whether http:// is connected to as well: without TLS anybody on the way reads and changes what is sent.",
  }),
  caFile: optional(path({ about: "PEM file of authorities that are believed besides the system's, for services of one's own." })),
  proxy: secret({
    pattern: /^http:\/\/[^/?#]+\/?$/,
    wanted: "an address such as http://user:password@proxy:3128",
    about: "A proxy for everything that the registry connects to by itself, by HTTP CONNECT. Empty: none.",
  }),
  noProxy: allowed("Networks and hosts that are connected to without the proxy."),
  proxyResolves: flag({
    standard: "false",
    about:
      "Whether names that are unknown here are handed to the proxy, which then alone decides what they lead to. Otherwise it gets the address that was checked.",
  }),
};
