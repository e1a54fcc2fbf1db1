// The version of this program: for its log, its OpenAPI document, the manifests of backups. It is defined once for all uses; package.json
// repeats it for npm, and a test compares them. Not here: the database's version (database/migrate.ts).

/** This program's version: that of the next release with `-dev`, in every tree but the release's own. */
export const VERSION = "0.2.0-dev";
