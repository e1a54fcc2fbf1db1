// The port of what may be pulled: a feature that has policies answers for the manifests of the projects that have some. Here: the question and
// the answer. Not here: who asks and what becomes of the answer (gatekeeper.ts), any policy (features).
import type { Digest } from "@berth/oci/digest";
import type { Reference } from "@berth/oci/reference";
import type { Grant } from "../access/caller.ts";
import type { ProjectTrait } from "../access/project-traits.ts";
import type { ManifestRelations } from "../content/holders.ts";
import type { ManifestRow } from "../content/manifests.ts";

/** What is about to be given out: a manifest itself, a blob that it leads to, or such a blob to another repository. */
export type GatePurpose = "manifest" | "blob" | "mount";

/** A question about a manifest. */
export interface GateQuestion {
  /** Who pulls, from which repository and project; `traits` has the settings, and the revision that answers may be kept by. */
  readonly grant: Grant<"pull">;
  readonly purpose: GatePurpose;
  /** As it was asked for; undefined for a manifest that only leads to a blob. */
  readonly reference: Reference | undefined;
  readonly manifest: ManifestRow;
  /** Its subject, its children and the indexes that name it. Looked up when it is called. */
  relations(): Promise<ManifestRelations>;
}

/** A question about a blob. */
export interface GateBlobQuestion {
  readonly grant: Grant<"pull">;
  readonly purpose: "blob" | "mount";
  readonly digest: Digest;
  /** The manifests of the repository that name it, newest first. Looked up in pages as they are read. */
  listHolders(): AsyncIterable<ManifestRow>;
}

/** An answer. Warnings are told to who pulls, reasons to who may not; both as plain text. */
export type Verdict =
  | { readonly allowed: true; readonly warnings?: readonly string[] }
  | { readonly allowed: false; readonly reasons: readonly string[] };

/** Judges what may be pulled. What it throws, and an answer that does not come, are no permission. */
export interface Gate {
  /** Projects without it are never asked about. */
  readonly trait: ProjectTrait;
  /** At once where it can: all of a pull's questions come this way, HEAD and GET, by tag and by digest, indexes and their children. */
  verdict(question: GateQuestion): Verdict | Promise<Verdict>;
  /**
   * A short cut for blobs, which may be given out where one manifest that leads to them may be pulled. Where it is missing, or another gate has a
   * word in the project, `verdict` is asked of one manifest after the other.
   */
  blobVerdict?(question: GateBlobQuestion): Verdict | Promise<Verdict>;
}
