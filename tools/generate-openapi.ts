// Writes docs/api/openapi.json from the operations in packages/api; with --check only says whether it is up to date.
// Not here: how the document is made (packages/api/src/openapi.ts).
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { buildOpenApi } from "@berth/api/openapi";
import { OPERATIONS } from "@berth/api/operations";

const root = new URL("../", import.meta.url);
const target = new URL("docs/api/openapi.json", root);
const { version } = JSON.parse(await readFile(new URL("package.json", root), "utf8")) as { version: string };
const text = `${JSON.stringify(buildOpenApi(OPERATIONS, version), null, 2)}\n`;

if (process.argv.includes("--check")) {
  const found = await readFile(target, "utf8").catch(() => "");
  if (found !== text) {
    process.stderr.write("docs/api/openapi.json is out of date: run node tools/generate-openapi.ts\n");
    process.exitCode = 1;
  }
} else {
  await mkdir(new URL(".", target), { recursive: true });
  await writeFile(target, text);
  process.stdout.write(`wrote ${fileURLToPath(target)}\n`);
}
