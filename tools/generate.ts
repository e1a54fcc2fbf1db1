// Writes the files that are generated from the code: `npm run generate`. Not here: their content (generate-*.ts).
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { applySchema } from "../packages/api/src/apply.ts";
import { writeExampleConfig } from "../apps/server/src/config-document.ts";
import { generateSizes } from "./check-sizes.ts";
import { generateErrors } from "./generate-errors.ts";
import { generateOpenApi } from "./generate-openapi.ts";

const ROOT = dirname(import.meta.dirname);

interface Generated {
  readonly path: string;
  generate(): string | Promise<string>;
}

/** Every generated file. */
const GENERATED: readonly Generated[] = [
  { path: "config.example.yaml", generate: writeExampleConfig },
  { path: "docs/errors.md", generate: generateErrors },
  { path: "docs/api/openapi.json", generate: generateOpenApi },
  { path: "docs/api/apply.schema.json", generate: () => `${JSON.stringify(applySchema(), undefined, 2)}\n` },
  { path: "tools/sizes.json", generate: generateSizes },
];

/** The problems of the generated files: one line for each that is missing, outdated or cannot be generated. */
export async function findStale(): Promise<string[]> {
  const found = await Promise.all(
    GENERATED.map(async ({ path, generate }) => {
      try {
        const wanted = await generate();
        const file = join(ROOT, path);
        const current = existsSync(file) ? await readFile(file, "utf8") : undefined;
        if (current === wanted) return [];
        return [`${path} ${current === undefined ? "is missing" : "is out of date"}: run \`npm run generate\``];
      } catch (error) {
        return [`${path} cannot be made: ${error instanceof Error ? error.message : String(error)}`];
      }
    }),
  );
  return found.flat();
}

async function writeAll(): Promise<void> {
  for (const { path, generate } of GENERATED) {
    const file = join(ROOT, path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, await generate());
    console.log(path);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeAll();
