// The signature of a snapshot: it proves that the manifest's writer had the registry's secret key. The manifest holds the digests of the
// tables, and the tables those of blobs, so the signature covers every byte. Not here: where it is stored (backup-format.ts).
import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { StartupError } from "../../platform/startup-error.ts";
import { fingerprintOf, type SnapshotManifest } from "./backup-format.ts";

/** How signatures are checked: `known` refuses wrong ones and warns if there is none; `required` refuses both; `ignored` accepts everything. */
export type SignatureRule = "known" | "required" | "ignored";

/** A snapshot as described by its manifest's file. */
export interface SignedSnapshot {
  readonly snapshot: string;
  readonly manifest: SnapshotManifest;
  /** Undefined: it is not signed, as up to version 0.1.0 or if the secret key was not known. */
  readonly signature: string | undefined;
}

/** Signs a snapshot. Its name is part of the signed text, so that an old snapshot cannot be passed off as a newer one. */
export function signSnapshot(masterKey: Uint8Array, snapshot: string, manifest: SnapshotManifest): string {
  const key = Buffer.from(hkdfSync("sha256", masterKey, new Uint8Array(), "berth backup signature v1", 32));
  return `hmac-sha256:${createHmac("sha256", key)
    .update(`${snapshot}\n${JSON.stringify(manifest)}`)
    .digest("hex")}`;
}

/** The result of checking a signature; `unknown` if its key is not available. */
export type SignatureState = "good" | "wrong" | "absent" | "unknown";

/** Checks the signature of a snapshot with a key, or without one. */
export function stateOfSignature({ snapshot, manifest, signature }: SignedSnapshot, masterKey: Uint8Array | undefined): SignatureState {
  if (signature === undefined) return "absent";
  if (masterKey === undefined) return "unknown";
  const [given, own] = [signature, signSnapshot(masterKey, snapshot, manifest)].map((text) => Buffer.from(text));
  if (given!.length === own!.length && timingSafeEqual(given!, own!)) return "good";
  // It is of another key. The manifest's own statement proves nothing, and only selects the message.
  return manifest.keyFingerprint === fingerprintOf(masterKey) ? "wrong" : "unknown";
}

/**
 * Refuses a snapshot by its signature, or returns a warning; undefined if the signature is good. A signature of another key than the given
 * one does not match. Errors: `StartupError`.
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
