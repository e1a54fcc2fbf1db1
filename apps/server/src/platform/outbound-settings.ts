// Settings of what the registry connects to by itself: webhooks, upstreams, issuers of identities. Not here: what is connected to when
// (outbound.ts), how settings are read (config-load.ts).
import { networksOrHosts } from "../config-hosts.ts";
import { flag, optional, path, secret } from "../config-kinds.ts";

export const outboundSettings = {
  allow: networksOrHosts(
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
  noProxy: networksOrHosts("Networks and hosts that are connected to without the proxy."),
  proxyResolves: flag({
    standard: "false",
    about:
      "Whether names that are unknown here are handed to the proxy, which then alone decides what they lead to. Otherwise it gets the address that was checked.",
  }),
};
