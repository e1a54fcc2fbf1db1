// Settings of the audit log. Not here: how settings are read (config-load.ts).
import { flag, integer } from "../../config-kinds.ts";

export const auditSettings = {
  keepDays: integer({
    standard: "0",
    min: 0,
    max: 36_500,
    about: "How many days records are kept at least. They go by whole segments, whose signed headers stay. 0: for ever.",
  }),
  pulls: flag({ standard: "true", about: "Whether pulls are put on record: one row for each client, reference and second." }),
};
