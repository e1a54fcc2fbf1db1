// The roles that run until a signal stops them: serve, which answers clients, and work, which only does the background work. Not here:
// their composition (compose.ts).
import { existsSync } from "node:fs";
import { join } from "node:path";
import { startRegistry, startWork } from "../compose.ts";
import { showListenAddress } from "../config-kinds.ts";
import type { Config } from "../config.ts";
import { StartupError } from "../platform/startup-error.ts";
import { VERSION } from "../platform/version.ts";
import { PASSWORD_FILE, withRoleContext } from "./context.ts";

/** How often a process started by npm checks whether npm is still alive. */
const PARENT_LOOK_MS = 500;

/**
 * Resolves at the first stop signal; a second one ends the process at once. Under npm, npm's end counts as a signal: outside a terminal npm
 * passes signals to its shell, which ends without telling us, and the server would continue unnoticed.
 */
function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    let isStopping = false;
    if (process.env["npm_lifecycle_event"] !== undefined) {
      const parent = process.ppid;
      const looking = setInterval(() => {
        if (process.ppid === parent) return;
        clearInterval(looking);
        isStopping = true;
        resolve("SIGTERM");
      }, PARENT_LOOK_MS);
      looking.unref();
    }
    for (const signal of ["SIGINT", "SIGTERM"] as const) {
      process.on(signal, () => {
        if (isStopping) process.exit(130);
        isStopping = true;
        resolve(signal);
      });
    }
  });
}

/** Answers clients, and does the background work as well unless `jobs` is false. */
export function serve(config: Config, jobs: boolean): Promise<number | undefined> {
  return withRoleContext(config, config.log, async (roleContext, directory) => {
    const { logger } = roleContext;
    const stopped = stopSignal();
    const passwordFile = join(directory.path, PASSWORD_FILE);
    let isFirstStart = false;
    const registry = await startRegistry(roleContext, {
      jobs,
      adminPasswordFile: passwordFile,
      async keepAdminPassword(password) {
        await directory.putSecret(PASSWORD_FILE, password);
        isFirstStart = true;
      },
    });
    const scheme = config.http.tls.certificateFile === undefined ? "http" : "https";
    const host = config.http.listen.host ?? "127.0.0.1";
    const shown = `${host.includes(":") ? `[${host}]` : host}:${registry.port}`;
    const admin = config.http.adminListen;
    const adminAddress =
      admin === undefined ? {} : { administration: `${scheme}://${showListenAddress({ ...admin, port: registry.adminPort! })}` };
    logger.info(
      { address: `${scheme}://${shown}`, ...adminAddress, version: VERSION, startedAfterMs: Math.round(performance.now()) },
      "ready",
    );
    if (process.stdout.isTTY || config.log.format === "pretty" || isFirstStart) {
      greet(
        `${scheme}://${shown}`,
        shown,
        config.auth.adminPassword === undefined && existsSync(passwordFile) ? passwordFile : undefined,
        config.auth.adminPassword !== undefined,
      );
    }
    const signal = await stopped;
    logger.info({ signal }, "stopping: running requests may end");
    await registry.stop();
    logger.info("stopped");
    return undefined;
  });
}

function greet(url: string, registry: string, passwordFile: string | undefined, isConfigured: boolean): void {
  const password = passwordFile === undefined ? '"$BERTH_ADMIN_PASSWORD"' : `"$(cat ${passwordFile})"`;
  const where =
    passwordFile !== undefined
      ? `the password is in ${passwordFile}`
      : isConfigured
        ? "the password is the one that you configured, unless it was changed"
        : "if nobody knows the password, `berth-server account reset` makes a new one";
  process.stdout.write(`
Berth ${VERSION} is ready at ${url}
The administrator is "admin"; ${where}.

Push and pull with docker:
  echo ${password} | docker login ${registry} -u admin --password-stdin
  tar -C /etc -c hostname | docker import - ${registry}/library/hello:v1
  docker push ${registry}/library/hello:v1
  docker pull ${registry}/library/hello:v1

`);
}

/** Does the background work only. Errors: `StartupError` without PostgreSQL. */
export async function work(config: Config): Promise<number | undefined> {
  if (config.database.url === undefined) {
    throw new StartupError(
      "`work` shares the background work of many replicas and needs PostgreSQL: set database.url. With the embedded database, `serve` does it.",
    );
  }
  return withRoleContext(config, config.log, async (roleContext) => {
    const stopped = stopSignal();
    const stop = await startWork(roleContext);
    roleContext.logger.info("working");
    await stopped;
    await stop();
    return undefined;
  });
}
