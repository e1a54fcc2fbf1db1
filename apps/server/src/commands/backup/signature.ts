// The signature of a snapshot: that whoever wrote its manifest had the registry's secret key. The manifest holds the digests of the tables, and the
// tables those of blobs, so that it speaks for every byte. Not here: where it stands (backup-format.ts).
import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { StartupError } from "../../platform/startup-error.ts";
import { fingerprintOf, type SnapshotManifest } from "./backup-format.ts";

/** How a signature is judged: `known` refuses wrong ones and says where there is none; `required` refuses also that; `ignored` none. */
export type SignatureRule = "known" | "required" | "ignored";

/** A snapshot as its manifest's file tells it. */
export interface SignedSnapshot {
  readonly snapshot: string;
  readonly manifest: SnapshotManifest;
  /** Undefined: nobody has signed it, as up to version 0.1.0 or where the secret key was not known. */
  readonly signature: string | undefined;
}

/** Signs a snapshot. Its name is part of what is signed, so that an old snapshot cannot be passed off as a newer one. */
export function signSnapshot(masterKey: Uint8Array, snapshot: string, manifest: SnapshotManifest): string {
  const key = Buffer.from(hkdfSync("sha256", masterKey, new Uint8Array(), "berth backup signature v1", 32));
  return `hmac-sha256:${createHmac("sha256", key)
    .update(`${snapshot}\n${JSON.stringify(manifest)}`)
    .digest("hex")}`;
}

/** What can be said of a signature; `unknown` where the key that it was made with is not at hand. */
export type SignatureState = "good" | "wrong" | "absent" | "unknown";

/** Judges the signature of a snapshot by a key, or without one. */
export function stateOfSignature({ snapshot, manifest, signature }: SignedSnapshot, masterKey: Uint8Array | undefined): SignatureState {
  if (signature === undefined) return "absent";
  if (masterKey === undefined) return "unknown";
  const [given, own] = [signature, signSnapshot(masterKey, snapshot, manifest)].map((text) => Buffer.from(text));
  if (given!.length === own!.length && timingSafeEqual(given!, own!)) return "good";
  // Of another key; that it says so itself proves nothing, and only chooses the words.
  return manifest.keyFingerprint === fingerprintOf(masterKey) ? "wrong" : "unknown";
}

/**
 * Refuses a snapshot by its signature, or gives what should be said of it; undefined where it is good. A signature of another key than the one that is
 * given does not fit. Errors: `StartupError`.
 */
export function judgeSignature(snapshot: SignedSnapshot, masterKey: Uint8Array | undefined, rule: SignatureRule): string | undefined {
  const state = stateOfSignature(snapshot, masterKey);
  const { snapshot: name } = snapshot;
  if (state === "good") return undefined;
  const why = {
    wrong: `snapshot ${name} is not what was signed with this secret key: somebody has changed it, or wrote it without the key`,
    absent: `snapshot ${name} is not signed: whoever can write to the place may have made it`,
    unknown:
      masterKey === undefined
        ? `the signature of snapshot ${name} cannot be checked: the secret key is not known here`
        : `snapshot ${name} is signed with another secret key, so that nobody can say who wrote it`,
  }[state];
  const mayPass = rule === "ignored" || (rule === "known" && (state === "absent" || masterKey === undefined));
  if (mayPass) return why;
  throw new StartupError(`${why}${rule === "known" ? "; --unsigned takes it all the same" : ""}`);
}
