// Reads a range of an object, and resumes after a broken connection. Not here: the requests (s3-client.ts).
import { RegistryError } from "@berth/oci/errors";
import { PIECE_BYTES } from "./buffer-pool.ts";
import type { S3Bucket } from "./s3-client.ts";

// Consecutive breaks without a byte in between. Each attempt begins with the SDK's own retries.
const MAX_BREAKS = 3;
/** After this long without a byte no further attempt begins: a silent service makes each of them long. */
const DEADLINE_MS = 20_000;
// It grows with each break; long enough for a gateway to be replaced behind its address.
const BREAK_WAIT_MS = 200;

/**
 * Yields bytes `start` to `end`; resumes when the connection breaks. Errors: BLOB_DAMAGED if the object is missing or too short, or has
 * another size than given; UNAVAILABLE.
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
          // Counted before the yield: a reader that leaves does not return to count.
          position += piece.length;
          yield piece;
        }
      }
    } catch (error) {
      // Errors thrown by the reader do not arrive here, only those of the body.
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
