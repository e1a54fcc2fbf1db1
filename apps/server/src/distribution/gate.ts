// The port of gates: a feature with policies decides for the manifests of the projects that have some. Here: the question and the answer.
// Not here: the caller and its reaction (gatekeeper.ts), any policy (features).
import type { Digest } from "@berth/oci/digest";
import type { Reference } from "@berth/oci/reference";
import type { Grant } from "../access/caller.ts";
import type { ProjectTrait } from "../access/project-traits.ts";
import type { ManifestRelations } from "../content/holders.ts";
import type { ManifestRow } from "../content/manifests.ts";

/** What is about to be served: a manifest itself, a blob that it leads to, or such a blob to another repository. */
export type GatePurpose = "manifest" | "blob" | "mount";

/** A question about a manifest. */
export interface GateQuestion {
  /** The puller, repository and project; `traits` has the settings, and the revision under which answers may be cached. */
  readonly grant: Grant<"pull">;
  readonly purpose: GatePurpose;
  /** As requested; undefined for a manifest that only leads to a blob. */
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

/** An answer. Warnings are shown to callers who pull, reasons to those who may not; both as plain text. */
export type Verdict =
  | { readonly allowed: true; readonly warnings?: readonly string[] }
  | { readonly allowed: false; readonly reasons: readonly string[] };

/** Decides what may be pulled. An error, and a missing answer, are no permission. */
export interface Gate {
  /** Projects without this trait are never checked. */
  readonly trait: ProjectTrait;
  /** Synchronous if possible: all of a pull's questions come here, HEAD and GET, by tag and by digest, indexes and their children. */
  verdict(question: GateQuestion): Verdict | Promise<Verdict>;
  /**
   * A short cut for blobs, which may be served if one manifest that leads to them may be pulled. If it is missing, or another gate applies
   * to the project, `verdict` is called for one manifest after the other.
   */
  blobVerdict?(question: GateBlobQuestion): Verdict | Promise<Verdict>;
}
