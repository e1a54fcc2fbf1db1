// What the data plane asks of the control plane, without knowing it: compose/data-plane.ts hands the answers in. A port that is not handed in
// asks nothing. Not here: any feature.
import type { Digest } from "@berth/oci/digest";
import type { Reference } from "@berth/oci/reference";
import type { Grant } from "../access/caller.ts";
import type { ManifestRow } from "../content/manifests.ts";

/** Judges whether a manifest may be pulled. Asked once a pull, on manifests only. Errors: DENIED with the reasons. */
export interface Gate {
  verdict(grant: Grant<"pull">, manifest: ManifestRow): Promise<void>;
}

/** Keeps projects within their bytes. Asked inside the transaction that stores a manifest. Errors: DENIED. */
export interface QuotaLedger {
  reserve(grant: Grant<"push">, sizeBytes: number): Promise<void>;
}

/** Finds what a proxy project does not have yet, and stores it. */
export interface Upstream {
  fetchManifest(grant: Grant<"pull">, reference: Reference): Promise<ManifestRow | undefined>;
  fetchBlob(grant: Grant<"pull">, digest: Digest): Promise<boolean>;
}

/** The ports, each optional. */
export interface Ports {
  readonly gate?: Gate;
  readonly quota?: QuotaLedger;
  readonly upstream?: Upstream;
}
