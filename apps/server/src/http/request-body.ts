// A request's body as pieces, with its time limits enforced. Not here: how many bodies there may be at once (limits.ts), breaking off slow
// ones (preemption.ts).
import type { IncomingMessage, ServerResponse } from "node:http";
import { finished } from "node:stream";
import { RegistryError } from "@berth/oci/errors";
import { freePiece, type PieceSource } from "../platform/pieces.ts";
import type { BreakReason, Transfer } from "./transfer-rate.ts";

/**
 * Sends 100 Continue where the client waits for it; call it only when the request is not refused. HTTP/1.0 has no such answer. Source: RFC
 * 9110, section 10.1.1.
 */
export function inviteBody(request: IncomingMessage, response: ServerResponse): void {
  if (request.headers.expect !== undefined && request.httpVersion !== "1.0") response.writeContinue();
}

/** The limits of a body. */
export interface BodyLimits {
  /** Waiting longer than this for a piece fails. The time that the reader takes between pieces does not count. */
  readonly idleTimeoutMs: number;
  /** The client's rate; breaking it off fails the body. */
  readonly transfer?: Transfer | undefined;
}

/** These replace the text for a body that stopped. */
const BREAK_TEXTS: Readonly<Record<BreakReason, string>> = {
  slow: "the request body arrived too slowly while others waited for its place",
  share: "the request body was broken off: others waited, and its address held more than its share of the places",
};

/** The reader that waits for the next piece. */
interface Waiting {
  take(piece: Uint8Array): void;
  end(error: Error | undefined): void;
}

/**
 * The body of a request. Pieces come straight from the parser; reading from the connection pauses while no reader waits. A piece's memory
 * is freed when the next one is requested. A reader that stops early leaves the connection open, because otherwise the client would never
 * see why. Errors: REQUEST_TIMEOUT; the connection must be closed after it, since the rest of the body may still come.
 */
export function bodyOf(request: IncomingMessage, { idleTimeoutMs, transfer }: BodyLimits): PieceSource {
  /** Pieces that arrived while no reader waited: the parser hands over what it has already read. */
  const early: Uint8Array[] = [];
  let waiting: Waiting | undefined;
  let outcome: { readonly error: Error | undefined } | undefined;
  let close: (() => void) | undefined;

  function begin(): () => void {
    // One timer for the whole body: a timer for each piece would cost more than handling the piece.
    const timer = setTimeout(() => expire(), idleTimeoutMs);
    const unwatch = finished(request, { writable: false }, (error) => conclude(error ?? undefined));
    request.on("data", onData);
    refresh = () => void timer.refresh();
    return () => {
      clearTimeout(timer);
      unwatch();
      request.off("data", onData);
      // No reader waits: without a pause the rest would be read and discarded as fast as it arrives.
      request.pause();
    };
  }
  let refresh = (): void => undefined;

  function onData(piece: Uint8Array): void {
    const present = waiting;
    if (present === undefined) {
      early.push(piece);
      request.pause();
      return;
    }
    waiting = undefined;
    transfer?.moved(performance.now(), piece.length);
    present.take(piece);
  }

  function expire(message?: string): void {
    if (waiting === undefined) return;
    const headers = { connection: "close" };
    conclude(new RegistryError("REQUEST_TIMEOUT", message === undefined ? { headers } : { headers, message }));
  }

  function breakOff(reason: BreakReason): void {
    expire(BREAK_TEXTS[reason]);
  }

  function conclude(error: Error | undefined): void {
    if (outcome !== undefined) return;
    outcome = { error };
    if (error !== undefined) early.length = 0;
    transfer?.moved(performance.now(), 0);
    close?.();
    const present = waiting;
    waiting = undefined;
    present?.end(error);
  }

  function wait(next: Waiting): void {
    const piece = early.shift();
    if (piece !== undefined) return next.take(piece);
    if (outcome !== undefined) return next.end(outcome.error);
    waiting = next;
    transfer?.wait(performance.now(), breakOff);
    if (close === undefined) close = begin();
    else {
      refresh();
      if (request.isPaused()) request.resume();
    }
  }

  let inHand: Uint8Array | undefined;
  function letGo(): void {
    if (inHand !== undefined) freePiece(inHand);
    inHand = undefined;
  }

  return {
    [Symbol.asyncIterator]: () => ({
      next() {
        letGo();
        return new Promise((resolve, reject) => {
          wait({
            take(piece) {
              inHand = piece;
              resolve({ done: false, value: piece });
            },
            end: (error) => (error === undefined ? resolve({ done: true, value: undefined }) : reject(error)),
          });
        });
      },
      async return() {
        conclude(undefined);
        return { done: true, value: undefined };
      },
    }),

    pump(take) {
      letGo();
      return new Promise((resolve, reject) => {
        function fail(error: unknown): void {
          conclude(undefined);
          reject(error instanceof Error ? error : new Error("the body could not be taken", { cause: error }));
        }
        const taking: Waiting = {
          take(piece) {
            let taken: Promise<void> | undefined;
            try {
              taken = take(piece);
            } catch (error) {
              return fail(error);
            }
            if (taken === undefined) {
              freePiece(piece);
              return wait(taking);
            }
            taken.then(() => {
              freePiece(piece);
              wait(taking);
            }, fail);
          },
          end: (error) => (error === undefined ? resolve() : reject(error)),
        };
        wait(taking);
      });
    },
  };
}
