// Walks everything that a manifest names and checks that all bytes have their digest. One function walks the registry and OCI layouts, so
// that pushed and pulled content can be compared as two lists. Not here: reading either of them.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

/** Where content is read from. */
export interface ContentSource {
  /** A manifest's bytes. */
  manifest(digest: string): Promise<Uint8Array>;
  /** A blob's bytes. */
  blob(digest: string): Promise<AsyncIterable<Uint8Array>>;
}

interface Descriptor {
  readonly digest: string;
  readonly size: number;
  readonly urls?: readonly string[];
}

interface ManifestBody {
  readonly manifests?: readonly Descriptor[];
  readonly config?: Descriptor;
  readonly layers?: readonly Descriptor[];
}

/** The digest of bytes. */
export function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/**
 * The digests of a manifest and of everything under it, each once, sorted. Reads and hashes all of it. Foreign layers are excluded, because
 * only their urls have them.
 */
export async function digestsUnder(root: string, source: ContentSource): Promise<string[]> {
  const seen = new Set<string>();
  const walk = async (digest: string): Promise<void> => {
    const bytes = await source.manifest(digest);
    assert.equal(digestOf(bytes), digest, "a manifest is not what its digest says");
    seen.add(digest);
    const body = JSON.parse(Buffer.from(bytes).toString()) as ManifestBody;
    for (const child of body.manifests ?? []) if (!seen.has(child.digest)) await walk(child.digest);
    for (const blob of [...(body.config === undefined ? [] : [body.config]), ...(body.layers ?? [])]) {
      if (seen.has(blob.digest) || blob.urls !== undefined) continue;
      seen.add(blob.digest);
      assert.deepEqual(await measure(await source.blob(blob.digest)), [blob.digest, blob.size], "a blob is not what its descriptor says");
    }
  };
  await walk(root);
  return [...seen].toSorted();
}

async function measure(bytes: AsyncIterable<Uint8Array>): Promise<[digest: string, sizeBytes: number]> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  for await (const piece of bytes) {
    hash.update(piece);
    sizeBytes += piece.length;
  }
  return [`sha256:${hash.digest("hex")}`, sizeBytes];
}
