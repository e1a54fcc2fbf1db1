// Builds the command line as one executable that needs no Node.js: `npm run build:cli [-- FOLDER]`. It is for the platform that it is built on:
// Node.js itself with the bundled program inside. Beside it lie the licences of what is inside. Not here: the program's entry
// (apps/cli/src/single-file.ts).
import { execFile } from "node:child_process";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";

const ROOT = join(import.meta.dirname, "..");
const EXECUTABLE = process.platform === "win32" ? "berth.exe" : "berth";

/** Builds into a folder, which is created; returns the executable's path. */
export async function buildCli(folder: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const work = await mkdtemp(join(tmpdir(), "berth-build-"));
  try {
    const bundle = join(work, "berth.mjs");
    const { metafile } = await build({
      absWorkingDir: ROOT,
      entryPoints: ["apps/cli/src/single-file.ts"],
      outfile: bundle,
      bundle: true,
      minify: true,
      // Traces of errors name functions as the sources do.
      keepNames: true,
      platform: "node",
      format: "esm",
      target: `node${process.versions.node}`,
      // Packages in CommonJS ask for Node's own modules by `require`, which a module does not have.
      banner: { js: 'import { createRequire as makeRequire } from "node:module"; const require = makeRequire(import.meta.url);' },
      metafile: true,
      logLevel: "warning",
    });
    const executable = resolve(folder, EXECUTABLE);
    const config = join(work, "sea.json");
    await writeFile(
      config,
      JSON.stringify({ main: bundle, mainFormat: "module", output: executable, disableExperimentalSEAWarning: true }),
    );
    await promisify(execFile)(process.execPath, ["--build-sea", config]);
    await writeFile(join(folder, "LICENSES.txt"), await licencesOf(Object.keys(metafile.inputs)));
    await copyFile(join(ROOT, "LICENSE"), join(folder, "LICENSE"));
    return executable;
  } finally {
    await rm(work, { recursive: true });
  }
}

/** The licence texts of the packages that bundled files belong to, and of Node.js. Throws for a package without one. */
async function licencesOf(inputs: readonly string[]): Promise<string> {
  const packages = inputs.flatMap((input) => /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1] ?? []);
  const folders = [...new Set(packages)].toSorted().map((each) => join(ROOT, each));
  const texts = await Promise.all([...folders, nodeFolder()].map(licenceIn));
  return texts.join(`\n${"-".repeat(80)}\n\n`);
}

/** The package or archive that the running Node.js came in. */
const nodeFolder = (): string => dirname(dirname(process.execPath));

async function licenceIn(folder: string): Promise<string> {
  const name = (await readdir(folder)).find((each) => /^licen[cs]e(?:\.md|\.txt)?$/i.test(each));
  if (name === undefined) throw new Error(`${relative(ROOT, folder)} has no licence, which whoever gets the executable needs`);
  return `${relative(join(ROOT, "node_modules"), folder)}\n\n${await readFile(join(folder, name), "utf8")}`;
}

if (import.meta.main) {
  const executable = await buildCli(process.argv[2] ?? join(ROOT, "dist"));
  const { size } = await stat(executable);
  console.log(`${relative(process.cwd(), executable)}: ${Math.round(size / 1e6)} MB`);
}
