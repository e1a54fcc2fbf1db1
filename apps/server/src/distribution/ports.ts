// What the data plane asks of the control plane, without knowing it: compose/data-plane.ts hands the answers in. A port that is not handed in
// asks nothing. Not here: any feature.
import type { Grant } from "../access/caller.ts";
import type { Gate } from "./gate.ts";

/** Keeps projects within their bytes. Asked inside the transaction that stores a manifest. Errors: DENIED. */
export interface QuotaLedger {
  reserve(grant: Grant<"push">, sizeBytes: number): Promise<void>;
}

/** The ports, each optional. */
export interface Ports {
  /** All that have a word in a project are asked; what one of them refuses is refused. */
  readonly gates?: readonly Gate[];
  readonly quota?: QuotaLedger;
}
