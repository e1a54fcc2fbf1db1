// The total size of what a manifest names: config, layers and children, each digest once. Not here: the check of a manifest (manifest.ts).
import { isObject, type Json } from "./descriptor.ts";

/** The bytes that a manifest names directly; at most 2^53 - 1, whatever a descriptor claims. */
export function namedBytes(root: Json): number {
  const sizes = new Map<string, number>();
  const layers = root["layers"] ?? root["blobs"];
  for (const value of [root["config"], ...listOf(layers), ...listOf(root["manifests"])]) {
    if (!isObject(value)) continue;
    const { digest, size } = value;
    if (typeof digest === "string" && Number.isSafeInteger(size) && (size as number) >= 0) sizes.set(digest, size as number);
  }
  let sum = 0;
  for (const size of sizes.values()) sum = Math.min(sum + size, Number.MAX_SAFE_INTEGER);
  return sum;
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
