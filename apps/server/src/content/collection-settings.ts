// Settings of garbage collection: how long unreferenced content is kept, and how it is deleted. Not here: how settings are read
// (config-load.ts).
import { integer, seconds } from "../config-kinds.ts";

export const collectionSettings = {
  leaseSeconds: seconds({
    standard: "24h",
    min: "1s",
    max: "30d",
    about: "How long a blob that was answered to exist, or was uploaded, is kept for the manifest that will name it.",
  }),
  graceSeconds: seconds({
    standard: "30m",
    min: "0s",
    max: "30d",
    about: "How long bytes outlive the last reference to them, so that running pulls end and backups agree with the database.",
  }),
  intervalSeconds: seconds({ standard: "30s", min: "1s", max: "24h", about: "The pause between two rounds of collection." }),
  batchSize: integer({
    standard: "200",
    min: 1,
    max: 10_000,
    about: "Blobs that one round's transaction takes: small, so that pushes never wait.",
  }),
};
