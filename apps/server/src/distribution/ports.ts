// What the data plane asks of the control plane, without knowing it: compose.ts hands the answers in. A port that is not handed in asks nothing.
// Not here: any feature; what is asked inside the transactions of writing (content/rules.ts) and of reading (gate.ts).
import type { ContentRules } from "../content/rules.ts";
import type { Gate } from "./gate.ts";

/** The ports, each optional. */
export interface Ports extends ContentRules {
  /** All that have a word in a project are asked; what one of them refuses is refused. */
  readonly gates?: readonly Gate[];
}
