// Referrers with annotations so large that they do not fit on one page, pushed over HTTP, because no client can create them. Not here: how
// clients read the pages.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Berth } from "./berth.ts";
import type { Layout } from "./images.ts";

const OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";

function digestOf(bytes: string): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** Pushes one referrer with an annotation of each size; returns their digests in the same order. Their artifact types end with their number. */
export async function pushLargeReferrers(berth: Berth, repository: string, subject: Layout, sizes: readonly number[]): Promise<string[]> {
  const { name, password } = berth.users.developer;
  const authorization = `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`;
  const send = async (method: string, path: string, body: string, type: string): Promise<void> => {
    const headers = { authorization, "content-type": type };
    const answer = await fetch(`${berth.origin}/v2/${repository}/${path}`, { method, headers, body });
    assert.equal(answer.status, 201, await answer.text());
  };
  const config = { mediaType: "application/vnd.oci.empty.v1+json", digest: digestOf("{}"), size: 2 };
  await send("POST", `blobs/uploads/?digest=${config.digest}`, "{}", "application/octet-stream");
  const digests: string[] = [];
  for (const [i, size] of sizes.entries()) {
    const { digest, mediaType, size: bytes } = subject.root;
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_MANIFEST,
      artifactType: `application/vnd.example.note${i}`,
      config,
      layers: [config],
      subject: { mediaType, digest, size: bytes },
      annotations: { note: "n".repeat(size) },
    });
    await send("PUT", `manifests/${digestOf(manifest)}`, manifest, OCI_MANIFEST);
    digests.push(digestOf(manifest));
  }
  return digests;
}
