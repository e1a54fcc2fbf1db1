// Request bodies of the data plane: their idle timeout, their rate for the limits, and manifests, which are held in memory whole. Not here:
// what is done with them (routes.ts), authorization.
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import type { PieceSource } from "../../platform/pieces.ts";
import type { Transfer } from "../transfer-rate.ts";
import { bodyOf, inviteBody } from "../request-body.ts";
import type { Party } from "../preemption.ts";
import { contentLength } from "./headers.ts";

/** The limits of bodies. */
export interface BodySettings {
  readonly maxManifestBytes: number;
  readonly bodyIdleTimeoutMs: number;
  /** Creates the transfer of one body or answer. */
  readonly transferOf: (kind: Transfer["kind"]) => Transfer;
}

/** A request whose body is to be read. */
export interface BodyExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly party: Party;
}

/** The body; 100 Continue is sent where the client waits for it. */
export function invitedBody({ request, response, party }: BodyExchange, settings: BodySettings): PieceSource {
  // Only now: until here a client that waits for 100 Continue has sent no byte of a refused push.
  inviteBody(request, response);
  const transfer = settings.transferOf("upload");
  party.transfer = transfer;
  return bodyOf(request, { idleTimeoutMs: settings.bodyIdleTimeoutMs, transfer });
}

/** The announced length of a manifest. Errors: MANIFEST_TOO_LARGE. */
export function manifestLength(request: IncomingMessage, settings: BodySettings): number | undefined {
  const length = contentLength(request.headers["content-length"]);
  if ((length ?? 0) > settings.maxManifestBytes) throw manifestTooLarge(settings);
  return length;
}

/** A manifest's bytes. Errors: MANIFEST_TOO_LARGE, REQUEST_TIMEOUT. */
export async function readManifestBody(exchange: BodyExchange, settings: BodySettings, announced: number | undefined): Promise<Buffer> {
  // A buffer of the announced length is filled as bytes arrive; joining pieces at the end would hold them twice.
  const whole = announced === undefined ? undefined : Buffer.allocUnsafe(announced);
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of invitedBody(exchange, settings)) {
    if (length + piece.length > settings.maxManifestBytes) throw manifestTooLarge(settings);
    // Copied, because a piece is only valid until the next one.
    if (whole === undefined) pieces.push(Buffer.from(piece));
    else whole.set(piece, length);
    length += piece.length;
  }
  return whole?.subarray(0, length) ?? Buffer.concat(pieces);
}

function manifestTooLarge({ maxManifestBytes: maxBytes }: BodySettings): RegistryError {
  return new RegistryError("MANIFEST_TOO_LARGE", { detail: { maxBytes } });
}
