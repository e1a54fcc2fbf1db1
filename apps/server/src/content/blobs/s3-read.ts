// Reading a range of an object that may break off and go on. Not here: the requests (s3-client.ts).
import { RegistryError } from "@berth/oci/errors";
import { PIECE_BYTES } from "./buffer-pool.ts";
import type { S3Bucket } from "./s3-client.ts";

// Breaks in a row without a byte in between. Each try has the SDK's own retries for its beginning.
const MAX_BREAKS = 3;
/** After so long without a byte no further try begins: a service that is silent makes each of them long. */
const DEADLINE_MS = 20_000;
// Grows with each break; long enough for a gateway to be replaced behind its address.
const BREAK_WAIT_MS = 200;

/**
 * Yields bytes `start` to `end`; goes on from where it was when the connection breaks. Errors: BLOB_DAMAGED where the object is missing
 * or shorter, or has not the size that is given; UNAVAILABLE.
 */
export async function* readObject(
  bucket: S3Bucket,
  name: string,
  start: number,
  end: number,
  expectedBytes?: number,
): AsyncGenerator<Uint8Array, void, void> {
  let position = start;
  let breaks = 0;
  let brokenAt = 0;
  while (position <= end) {
    const wanted = end - position + 1;
    const answer = await bucket.get(name, position, end);
    if (answer === undefined) throw new RegistryError("BLOB_DAMAGED", { cause: new Error(`${name} has no byte ${position}`) });
    const { body, sizeBytes, wholeBytes } = answer;
    const isOther = expectedBytes !== undefined && wholeBytes !== undefined && wholeBytes !== expectedBytes;
    if (isOther || sizeBytes < wanted) {
      body.destroy();
      const what = isOther ? `has ${wholeBytes} bytes instead of ${expectedBytes}` : `ends at ${position + sizeBytes}, not after ${end}`;
      throw new RegistryError("BLOB_DAMAGED", { cause: new Error(`${name} ${what}`) });
    }
    if (sizeBytes > wanted) {
      body.destroy();
      throw new Error(`the service does not honour ranges: it sends ${sizeBytes} bytes for ${wanted}`);
    }
    try {
      for await (const chunk of body as AsyncIterable<Uint8Array>) {
        breaks = 0;
        for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
          const piece = chunk.length <= PIECE_BYTES ? chunk : chunk.subarray(at, at + PIECE_BYTES);
          // Before the yield: a reader that leaves does not come back to count.
          position += piece.length;
          yield piece;
        }
      }
    } catch (error) {
      // What the reader throws into us does not come here: only the body's own end does.
      if (breaks++ === 0) brokenAt = performance.now();
      if (breaks > MAX_BREAKS || performance.now() - brokenAt > DEADLINE_MS) throw new RegistryError("UNAVAILABLE", { cause: error });
      await new Promise((resolve) => void setTimeout(resolve, BREAK_WAIT_MS * breaks));
      continue;
    } finally {
      body.destroy();
    }
    if (position <= end && ++breaks > MAX_BREAKS)
      throw new RegistryError("UNAVAILABLE", { cause: new Error(`${name} keeps breaking off`) });
  }
}
