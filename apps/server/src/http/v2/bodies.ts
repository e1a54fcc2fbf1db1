// Bodies of the data plane as they come in: how long they may pause, how they come along for who waits for their place, and manifests, which are
// held in memory whole. Not here: what is done with them (routes.ts), who may send them.
import type { IncomingMessage, ServerResponse } from "node:http";
import { RegistryError } from "@berth/oci/errors";
import type { PieceSource } from "../../platform/pieces.ts";
import type { Transfer } from "../transfer-rate.ts";
import { bodyOf, inviteBody } from "../request-body.ts";
import type { Party } from "../preemption.ts";
import { contentLength } from "./headers.ts";

/** What bodies are held to. */
export interface BodySettings {
  readonly maxManifestBytes: number;
  readonly bodyIdleTimeoutMs: number;
  /** Makes the transfer of one body or answer. */
  readonly transferOf: (kind: Transfer["kind"]) => Transfer;
}

/** A request whose body is to be read. */
export interface BodyExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly party: Party;
}

/** The body, which a client that waits to be asked is asked for. */
export function invitedBody({ request, response, party }: BodyExchange, settings: BodySettings): PieceSource {
  // Only now: a client that waits to be asked has sent no byte of a push that was refused.
  inviteBody(request, response);
  const transfer = settings.transferOf("upload");
  party.transfer = transfer;
  return bodyOf(request, { idleTimeoutMs: settings.bodyIdleTimeoutMs, transfer });
}

/** How long a manifest says that it is. Errors: MANIFEST_TOO_LARGE. */
export function manifestLength(request: IncomingMessage, settings: BodySettings): number | undefined {
  const length = contentLength(request.headers["content-length"]);
  if ((length ?? 0) > settings.maxManifestBytes) throw manifestTooLarge(settings);
  return length;
}

/** A manifest's bytes. Errors: MANIFEST_TOO_LARGE, REQUEST_TIMEOUT. */
export async function readManifestBody(exchange: BodyExchange, settings: BodySettings, announced: number | undefined): Promise<Buffer> {
  // One of the length that was announced is filled as it comes; pieces that are put together at the end would be held twice.
  const whole = announced === undefined ? undefined : Buffer.allocUnsafe(announced);
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of invitedBody(exchange, settings)) {
    if (length + piece.length > settings.maxManifestBytes) throw manifestTooLarge(settings);
    // Copied: a piece is only valid until the next one.
    if (whole === undefined) pieces.push(Buffer.from(piece));
    else whole.set(piece, length);
    length += piece.length;
  }
  return whole?.subarray(0, length) ?? Buffer.concat(pieces);
}

function manifestTooLarge({ maxManifestBytes: maxBytes }: BodySettings): RegistryError {
  return new RegistryError("MANIFEST_TOO_LARGE", { detail: { maxBytes } });
}
