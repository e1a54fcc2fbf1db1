// The import rule: a file of the server imports only from its own folder or from one further right in LAYERS. Not here: unused files and
// cycles (knip, oxlint).
import { globSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";

/** The server's folders from the outside in: each may import from itself and from those after it, and all from packages/. */
export const LAYERS = ["http", "features", "commands", "distribution", "events", "content", "access", "platform"] as const;

const SERVER = "apps/server/src/";
/** These connect everything. */
const FREE = /^apps\/server\/src\/(?:main|roles\/[a-z-]+|compose|compose\/[a-z-]+|reactions|tables)\.ts$/;
/** Settings contain no registry term, so everything may import them, and they may import what the platform may. */
const CONFIG = /^apps\/server\/src\/config(?:-[a-z-]+)?\.ts$/;
/** The owners' declarations, which config.ts joins; they import the kinds of settings and each other, and nothing of their owners. */
const SETTINGS = /-settings\.ts$/;
/** Tests and their helpers may import anything. */
const TEST = /\.(?:test|testing|contract)\.ts$/;

/** One broken rule: `file: what is wrong`. */
export type ImportProblem = string;

/** Checks files given as path (from the repository's root, with slashes) and text. */
export function findImportProblems(files: Iterable<readonly [string, string]>): ImportProblem[] {
  const problems: ImportProblem[] = [];
  for (const [file, source] of files) {
    if (TEST.test(file)) continue;
    for (const specifier of importsOf(source)) {
      const target = resolveImport(file, specifier);
      const problem = target === undefined ? undefined : judge(file, target);
      if (problem !== undefined) problems.push(`${file} imports ${specifier}: ${problem}`);
    }
  }
  return problems;
}

/** Everything that a source imports, including types and dynamic imports of a plain string. */
export function importsOf(source: string): string[] {
  const code = source.replaceAll(/^\s*(?:\/\/|\*|\/\*).*$/gm, "");
  const statements = code.matchAll(/^\s*(?:import|export)\b(?:[^;"'`()]*?\bfrom)?\s*["']([^"'\n]+)["']/gm);
  const dynamic = code.matchAll(/\bimport\(\s*["']([^"'\n]+)["']/g);
  return [...statements, ...dynamic].map((match) => match[1] ?? "");
}

/** The file of an import, from the repository's root; undefined for packages of npm or Node.js. */
function resolveImport(file: string, specifier: string): string | undefined {
  const own = /^@berth\/([a-z-]+)\/(.+)$/.exec(specifier);
  if (own !== null) return `packages/${own[1]}/src/${own[2]}.ts`;
  return specifier.startsWith(".") ? posix.join(posix.dirname(file), specifier) : undefined;
}

function judge(file: string, target: string): string | undefined {
  if (TEST.test(target)) return "it is for tests only";
  const [area, name] = file.split("/");
  const [targetArea, targetName] = target.split("/");
  // Tools and the whole system's tests may import anything.
  if (area !== "apps" && area !== "packages") return undefined;
  if (targetArea === "packages")
    return area === "packages" && name === "oci" && targetName !== "oci" ? "packages/oci stands alone" : undefined;
  if (area === "packages") return "a package imports only packages";
  if (targetArea !== "apps") return "an app imports only itself and packages";
  if (name !== targetName) return "an app never imports another app";
  return file.startsWith(SERVER) && !FREE.test(file) ? judgeLayers(file, target) : undefined;
}

function judgeLayers(file: string, target: string): string | undefined {
  const from = layerOf(file);
  const to = layerOf(target);
  if (from === undefined) return `${file} is in no layer: ${LAYERS.join(", ")}`;
  if (FREE.test(target)) return "main, roles/, compose, compose/, reactions and tables are imported by nobody else";
  if (to === undefined) return `its folder is no layer: ${LAYERS.join(", ")}`;
  if (SETTINGS.test(file)) return SETTINGS.test(target) || CONFIG.test(target) ? undefined : "settings know nothing of their owners";
  if (CONFIG.test(file) && SETTINGS.test(target)) return undefined;
  if (LAYERS.indexOf(to) < LAYERS.indexOf(from)) return `${from} may not import ${to}; the order is ${LAYERS.join(" -> ")}`;
  return to === "features" ? judgeFeature(file, target) : undefined;
}

/** A feature has one entrance, the file named like its folder. http/ mounts its routes and may import them too. */
function judgeFeature(file: string, target: string): string | undefined {
  const [feature, inner] = target.slice(`${SERVER}features/`.length).split("/");
  const isSame = file.startsWith(`${SERVER}features/${feature}/`);
  const isRoutes = file.startsWith(`${SERVER}http/`) && inner?.endsWith("-routes.ts") === true;
  return isSame || isRoutes || inner === undefined || inner === `${feature}.ts`
    ? undefined
    : `the only door of this feature is ${feature}.ts`;
}

function layerOf(file: string): (typeof LAYERS)[number] | undefined {
  if (CONFIG.test(file)) return "platform";
  const folder = file.slice(SERVER.length).split("/")[0];
  return LAYERS.find((layer) => layer === folder);
}

/** Checks the sources below `root`. */
export function checkImports(root: string): ImportProblem[] {
  const paths = globSync(["apps/*/src/**/*.{ts,tsx}", "packages/*/src/**/*.ts"], { cwd: root }).map((path) => path.replaceAll("\\", "/"));
  return findImportProblems(paths.map((path) => [path, readFileSync(join(root, path), "utf8")] as const));
}
