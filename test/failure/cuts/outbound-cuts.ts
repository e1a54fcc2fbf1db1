// Safety lines of what the registry sends to others: where it connects to. Not here: what a cut is, and the others (cuts.ts).
import type { Cut } from "./cuts.ts";

const SERVER = "apps/server/src";

/** All of them. */
export const OUTBOUND_CUTS: readonly Cut[] = [
  {
    invariant: 19,
    what: "an address that is not public is not connected to",
    file: `${SERVER}/platform/outbound-resolve.ts`,
    from: "isConfigured || rules.allow.permits(host, each, of)",
    to: "isConfigured || rules.allow.permits(host, each, of) || each !== host",
    test: `${SERVER}/platform/outbound.test.ts`,
    name: "is refused before anything is connected to, however it is written",
  },
  {
    invariant: 19,
    what: "connections go to the addresses that were checked",
    file: `${SERVER}/platform/outbound-exchange.ts`,
    from: "    lookup: pinned(target),\n",
    to: "",
    test: `${SERVER}/platform/outbound.test.ts`,
    name: "does not become public between the look and the connection: the name is looked up once",
  },
  {
    invariant: 19,
    what: "a redirect is checked as the first address was",
    file: `${SERVER}/platform/outbound.ts`,
    from: "const next = await resolveTarget(url, rules, { ...look, isConfigured: url.origin === configured });",
    to: "const next = await resolveTarget(url, rules, { ...look, isConfigured: true });",
    test: `${SERVER}/platform/outbound.test.ts`,
    name: "may be the operator's own, but not what that redirects to",
  },
  {
    invariant: 19,
    what: "no redirect leads from outside to inside, also where that is allowed",
    file: `${SERVER}/platform/outbound.ts`,
    from: "if (from.isPublic && !next.isPublic)",
    to: "if (from.isPublic && next.addresses.length === 0)",
    test: `${SERVER}/platform/outbound.test.ts`,
    name: "is checked as the first address was: none leads inside, by address or by name, in one hop or two",
  },
  {
    invariant: 19,
    what: "secrets do not follow a redirect to another origin",
    file: `${SERVER}/platform/outbound.ts`,
    from: "if (next.place !== target.place)",
    to: "if (next.host === undefined)",
    test: `${SERVER}/platform/outbound.test.ts`,
    name: "is followed so many times, and carries secrets to the same origin only",
  },
  {
    invariant: 19,
    what: "what happens in a private project goes to its own webhooks alone",
    file: `${SERVER}/features/webhooks/subscriptions.ts`,
    from: "place === 0 || publicIds.has(place)",
    to: "place === 0 || place > 0",
    test: "test/flows/webhooks.test.ts",
    name: "get what they want of their project, signed, once, and nothing else",
  },
];
