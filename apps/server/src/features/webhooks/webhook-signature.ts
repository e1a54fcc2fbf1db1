// How what is sent is signed: as Standard Webhooks has it, and beside it the hexadecimal form that Flux knows. Pure. Not here: where secrets are kept
// (webhook-store.ts).
import { createHmac, randomBytes } from "node:crypto";

const PREFIX = "whsec_";

/** A new secret: 256 random bits in base64 with a prefix, by which scanners find it. */
export function generateWebhookSecret(): string {
  return PREFIX + randomBytes(32).toString("base64");
}

/**
 * Headers that sign a body. `secrets`: newest first; with two, both sign, so that receivers can change theirs at any time between. Source:
 * https://github.com/standard-webhooks/standard-webhooks, "Verifying webhook authenticity"; https://fluxcd.io/flux/components/notification/receivers/, Generic HMAC.
 */
export function signedHeaders(secrets: readonly string[], id: string, atMs: number, body: string): Record<string, string> {
  const timestamp = String(Math.floor(atMs / 1000));
  const sign = (secret: string): string =>
    `v1,${createHmac("sha256", Buffer.from(secret.slice(PREFIX.length), "base64"))
      .update(`${id}.${timestamp}.${body}`)
      .digest("base64")}`;
  const [newest] = secrets;
  return {
    "webhook-id": id,
    "webhook-timestamp": timestamp,
    ...(newest === undefined
      ? {}
      : {
          "webhook-signature": secrets.map(sign).join(" "),
          "x-signature": `sha256=${createHmac("sha256", newest).update(body).digest("hex")}`,
        }),
  };
}
