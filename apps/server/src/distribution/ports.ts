// What the data plane asks of the control plane, without knowing it: compose.ts hands the answers in. A port that is not handed in asks nothing.
// Not here: any feature; what is asked inside the transactions of writing (content/rules.ts), of reading (gate.ts) and of other registries (upstream.ts).
import type { ContentRules } from "../content/rules.ts";
import type { Gate } from "./gate.ts";
import type { Upstream } from "./upstream.ts";

/** The ports, each optional. */
export interface Ports extends ContentRules {
  /** All that have a word in a project are asked; what one of them refuses is refused. */
  readonly gates?: readonly Gate[];
  /** The first whose trait a project has is asked for what is not here. */
  readonly upstreams?: readonly Upstream[];
}
