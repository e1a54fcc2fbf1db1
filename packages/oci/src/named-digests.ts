// Finds every digest that a manifest names, in any field and at any depth: known fields, other makers' fields, future ones. Not here: which
// of them must exist (manifest.ts), and what they hold (content/manifests.ts).
import { isDigest, type Digest } from "./digest.ts";

/** The lengths of digests: most texts have another length and need no check. */
const LENGTHS: ReadonlySet<number> = new Set(["sha256:".length + 64, "sha512:".length + 128]);

/**
 * All digests in a parsed manifest, each once, in texts and keys. Texts of annotations are excluded: they describe content, such as the
 * base image, and no client fetches by them.
 */
export function namedDigests(manifest: unknown): Set<Digest> {
  const named = new Set<Digest>();
  collect(manifest, named);
  return named;
}

// Recursion is bounded by a manifest's nesting (manifest-text.ts).
function collect(value: unknown, named: Set<Digest>): void {
  if (typeof value === "string") {
    if (LENGTHS.has(value.length) && isDigest(value)) named.add(value);
  } else if (Array.isArray(value)) {
    for (const each of value) collect(each, named);
  } else if (typeof value === "object" && value !== null) {
    for (const key in value) {
      const inner = (value as Record<string, unknown>)[key];
      if (key === "annotations") {
        collectBeside(inner, named);
        continue;
      }
      if (LENGTHS.has(key.length) && isDigest(key)) named.add(key);
      collect(inner, named);
    }
  }
}

// Annotations are texts. Another value is a field of another maker with the same name.
function collectBeside(annotations: unknown, named: Set<Digest>): void {
  if (typeof annotations !== "object" || annotations === null || Array.isArray(annotations)) return collect(annotations, named);
  for (const value of Object.values(annotations)) if (typeof value !== "string") collect(value, named);
}
