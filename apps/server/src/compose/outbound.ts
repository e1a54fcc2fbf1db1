// What the registry fetches from others, made of its settings. Not here: how it is done (platform/outbound.ts), by whom.
import { readFile } from "node:fs/promises";
import { X509Certificate } from "node:crypto";
import type { Metrics } from "../platform/metrics.ts";
import { createOutbound, type Outbound } from "../platform/outbound.ts";
import { StartupError } from "../platform/startup-error.ts";
import type { RoleContext } from "./foundation.ts";

/** What for: labels of metrics. */
const PURPOSES = ["webhook", "upstream", "issuer", "sign-in", "audit"] as const;
/** One of them. */
export type OutboundPurpose = (typeof PURPOSES)[number];

/** Makes it. Errors: `StartupError` where the file of authorities cannot be used. */
export async function openOutbound({ config, tracing }: RoleContext, metrics: Metrics): Promise<Outbound<OutboundPurpose>> {
  const { caFile, ...rest } = config.outbound;
  return createOutbound({
    ...rest,
    purposes: PURPOSES,
    ca: caFile === undefined ? undefined : await readAuthorities(caFile),
    metrics,
    tracing,
  });
}

async function readAuthorities(file: string): Promise<string> {
  try {
    const text = await readFile(file, "utf8");
    // The first one shows that it is of the right kind; Node.js passes over what it cannot read.
    void new X509Certificate(text);
    return text;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new StartupError(`Cannot use the authorities in ${file} (outbound.caFile): ${reason}`, { cause: error });
  }
}
