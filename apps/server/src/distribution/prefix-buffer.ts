// Buffers the first bytes of a body until it is known whether the body is small. Not here: what is done with either kind.

import { pump, type PieceSource } from "../platform/pieces.ts";

/** The first bytes of a body. */
export interface Head {
  readonly bytes: Buffer;
  /** The body ended within the limit: these are all its bytes. */
  readonly isWhole: boolean;
}

/** A body whose head is read first. */
export interface PrefixBuffer {
  /** Reads until the body ends or exceeds the limit; `onBytes` gets every piece. Called once. */
  head(onBytes: (piece: Uint8Array) => void): Promise<Head>;
  /** `before`, then the head, then the rest of the body. Called once, after `head`. */
  all(before: Uint8Array): PieceSource;
}

/** Wraps a body; at most `limitBytes` and one piece of it are buffered. */
export function createPrefixBuffer(body: AsyncIterable<Uint8Array>, limitBytes: number): PrefixBuffer {
  const iterator: AsyncIterator<Uint8Array, unknown> = body[Symbol.asyncIterator]();
  // The bytes after the head, also if the body is only read through its iterator.
  const remaining: AsyncIterable<Uint8Array> = "pump" in body ? body : { [Symbol.asyncIterator]: () => iterator };
  const pieces: Uint8Array[] = [];
  return {
    async head(onBytes) {
      let length = 0;
      for (;;) {
        const { done, value } = await iterator.next();
        if (done === true) return { bytes: Buffer.concat(pieces), isWhole: true };
        onBytes(value);
        // Copied, because a piece is only valid until the next one.
        pieces.push(Uint8Array.from(value));
        length += value.length;
        if (length > limitBytes) return { bytes: Buffer.concat(pieces), isWhole: false };
      }
    },
    all(before) {
      async function* rest(): AsyncGenerator<Uint8Array, void, void> {
        try {
          yield* heads();
          for (;;) {
            const { done, value } = await iterator.next();
            if (done === true) return;
            yield value;
          }
        } finally {
          await iterator.return?.();
        }
      }
      function* heads(): Generator<Uint8Array, void, void> {
        if (before.length > 0) yield before;
        yield* pieces;
      }
      return {
        [Symbol.asyncIterator]: rest,
        async pump(take) {
          try {
            for (const piece of heads()) await take(piece);
            await pump(remaining, take);
          } finally {
            await iterator.return?.();
          }
        },
      };
    },
  };
}
