// Settings of the audit log. Not here: how settings are read (config-load.ts).
import { flag } from "../../config-kinds.ts";

export const auditSettings = {
  pulls: flag({ standard: "true", about: "Whether pulls are put on record: one row for each client, reference and second." }),
};
