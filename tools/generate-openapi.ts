// Generates docs/api/openapi.json from the operations in packages/api. Not here: building the document (packages/api/src/openapi.ts), and
// writing it (generate.ts).
import { readFile } from "node:fs/promises";
import { buildOpenApi } from "@berth/api/openapi";
import { OPERATIONS } from "@berth/api/operations";

/** The control plane's OpenAPI document, as stored in docs/api. */
export async function generateOpenApi(): Promise<string> {
  const { version } = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8")) as { version: string };
  return `${JSON.stringify(buildOpenApi(OPERATIONS, version), null, 2)}\n`;
}
