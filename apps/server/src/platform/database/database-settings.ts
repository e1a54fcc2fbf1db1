// Settings of the database. Not here: how settings are read (config-load.ts).
import { databaseUrl, integer, seconds } from "../../config-kinds.ts";

export const databaseSettings = {
  url: databaseUrl({
    about:
      "A PostgreSQL database, for many replicas. Several hosts, as in postgres://user:password@one:5432,two:5432/name, are one primary and its standbys: the one that takes writes is used, and looked for again when it fails. Empty: SQLite in the data directory, for one process.",
  }),
  maxConnections: integer({ standard: "10", min: 1, max: 1000, about: "Connections to PostgreSQL for each replica." }),
  startTimeoutSeconds: seconds({
    standard: "60s",
    min: "0s",
    max: "1h",
    about: "How long a start waits for a database that does not answer yet, as when both start together.",
  }),
  acquireTimeoutSeconds: seconds({
    standard: "5s",
    min: "1s",
    max: "5m",
    about: "How long a request waits for a free database connection before it is answered with UNAVAILABLE.",
  }),
};
