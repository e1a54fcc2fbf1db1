// The version of this program: in its log, its OpenAPI document, the manifests of backups. Here once for all who name it; package.json
// has it for npm, and a test holds them together. Not here: the database's version (database/migrate.ts).

/** This program's version: that of the release that comes next, with `-dev`, in every tree but the release's own. */
export const VERSION = "0.2.0-dev";
