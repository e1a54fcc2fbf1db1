// Fills the server's compile cache while the image is built: `warm.mjs INSTALLED`. Loads every module that some role or setting loads, and
// answers once on an empty registry. Not here: where the cache is used (apps/server/bin/berth-server.mjs).
import { mkdtempSync, rmSync } from "node:fs";
import * as modules from "node:module";
import { join } from "node:path";

const installed = process.argv[2];
const server = join(installed, "apps/server/src");
modules.enableCompileCache(join(installed, "node_modules/.cache/berth-server"));

const { main } = await import(join(server, "main.ts"));
for (const module of ["platform/database/postgres.ts", "content/blobs/s3.ts", "http/api/api.ts"]) await import(join(server, module));

const folder = mkdtempSync("/tmp/warm-");
const port = 40_000 + (process.pid % 20_000);
const ended = main([
  "serve",
  "--listen",
  `127.0.0.1:${port}`,
  "--data",
  join(folder, "data"),
  "--log.level",
  "error",
  "--auth.adminPassword",
  "only-for-warming",
]);
const headers = { authorization: `Basic ${Buffer.from("admin:only-for-warming").toString("base64")}` };
for (let tries = 0; ; tries++) {
  try {
    await fetch(`http://127.0.0.1:${port}/readyz`);
    break;
  } catch (error) {
    if (tries === 200) throw error;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
for (const path of [
  "/v2/",
  "/v2/library/none/manifests/none",
  "/token?service=berth&scope=repository:library/none:pull",
  "/api/v1/projects",
]) {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers });
  await answer.arrayBuffer();
  if (answer.status >= 500) throw new Error(`${path}: ${answer.status}`);
}
process.kill(process.pid, "SIGTERM");
await ended;
modules.flushCompileCache();
rmSync(folder, { recursive: true });
