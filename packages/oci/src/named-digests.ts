// Finds every digest that a manifest names, in whatever field and at whatever depth: known ones, those of other makers, those of tomorrow.
// Not here: which of them must be there (manifest.ts), and what they hold (content/manifests.ts).
import { isDigest, type Digest } from "./digest.ts";

/** Lengths of digests: other texts, which are most, are not looked at. */
const LENGTHS: ReadonlySet<number> = new Set(["sha256:".length + 64, "sha512:".length + 128]);

/**
 * All digests that a parsed manifest names, each once: texts that are one, and keys. The texts of annotations are left out: they speak about content, such
 * as the image that another was built on, and no client fetches by them.
 */
export function namedDigests(manifest: unknown): Set<Digest> {
  const named = new Set<Digest>();
  collect(manifest, named);
  return named;
}

// As deep as a manifest's nesting may be (manifest-text.ts).
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

// Annotations are texts. What is none of them is another maker's field of the same name.
function collectBeside(annotations: unknown, named: Set<Digest>): void {
  if (typeof annotations !== "object" || annotations === null || Array.isArray(annotations)) return collect(annotations, named);
  for (const value of Object.values(annotations)) if (typeof value !== "string") collect(value, named);
}
