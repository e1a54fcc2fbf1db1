// The directories of the settings (LDAP), with their numbers and the lines that say when one is away. Packages are loaded only where there are
// some. Not here: what is asked of them (access/ldap).
import type { Accounts } from "../access/accounts.ts";
import type { RefreshParts } from "../access/ldap/directory-refresh.ts";
import type { Directory } from "../access/ldap/directory.ts";
import { createDirectoryLogin, DIRECTORY_RESULTS, type DirectoryLogin, type DirectoryResult } from "../access/ldap/directory-login.ts";
import type { LoginFailures } from "../access/login-failures.ts";
import type { OutsideSignIn } from "../access/outside-identities.ts";
import type { JobKind } from "../events/job-kinds.ts";
import { type Clock, SECOND_MS } from "../platform/clock.ts";
import { ACCESS_BUCKETS, type Metrics } from "../platform/metrics.ts";
import { createSharedLookup } from "../platform/shared-lookup.ts";
import type { RoleContext } from "./foundation.ts";

/** Opens them, without connecting to any. Errors: `StartupError` for files and filters that cannot be used. */
export async function openDirectories(
  { config, logger }: Pick<RoleContext, "config" | "logger">,
  { metrics, clock }: { readonly metrics: Metrics; readonly clock: Clock },
): Promise<readonly Directory[]> {
  const configured = Object.entries(config.auth.ldap);
  if (configured.length === 0) return [];
  const { openDirectoryServers } = await import("../access/ldap/directory-servers.ts");
  const { createDirectory } = await import("../access/ldap/directory.ts");
  const { caFile } = config.outbound;
  const lookup = createSharedLookup();
  const counts = countDirectories(
    metrics,
    configured.map(([name]) => name),
  );
  return Promise.all(
    configured.map(async ([name, settings]) => {
      const servers = await openDirectoryServers(name, settings, {
        clock,
        lookup,
        outboundCaFile: caFile,
        onState(failure) {
          counts.setAway(name, failure !== undefined);
          if (failure === undefined) logger.info({ directory: name }, "the directory answers again");
          else
            logger.error(
              { directory: name, problem: failure.problem, reason: failure.message },
              "a directory cannot be asked: its people cannot sign in",
            );
        },
        onAsked: (kind, seconds, isAnswered) => counts.asked(name, kind, seconds, isAnswered),
      });
      return createDirectory(name, settings, servers, () => clock.now());
    }),
  );
}

/** What signing in by directories needs. */
interface DirectoryLoginParts {
  readonly directories: readonly Directory[];
  readonly accounts: Accounts;
  readonly outside: OutsideSignIn;
  readonly loginFailures: LoginFailures;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/** What looking them up again needs. */
interface DirectoryRefreshParts extends RefreshParts {
  readonly directories: readonly Directory[];
}

/** Signing in by them; undefined where there is none. */
export function composeDirectoryLogin({ logger }: Pick<RoleContext, "logger">, parts: DirectoryLoginParts): DirectoryLogin | undefined {
  const { directories, metrics } = parts;
  if (directories.length === 0) return undefined;
  const count = countDirectorySignIns(
    metrics,
    directories.map(({ name }) => name),
  );
  return createDirectoryLogin({
    ...parts,
    onResult(result, directory, reason) {
      count(result, directory);
      // Wrong passwords are usual, and outages have their own line.
      if (result === "refused") logger.info({ directory, reason }, "a directory took a password, and the person may not sign in");
      else if (reason !== undefined) logger.debug({ directory, result, reason }, "a directory was asked about a password");
    },
  });
}

/** Looks people of directories up again who have tokens or sessions; a job for each directory. */
export function directoryKinds({ config, logger }: Pick<RoleContext, "config" | "logger">, parts: DirectoryRefreshParts): JobKind[] {
  const { directories } = parts;
  if (directories.length === 0) return [];
  const everyMs = Math.min(...Object.values(config.auth.ldap).map(({ refreshSeconds }) => refreshSeconds)) * SECOND_MS;
  return [
    {
      kind: "directory-refresh",
      concurrency: directories.length,
      timeoutMs: REFRESH_TIMEOUT_MS,
      retry: { attempts: 3, firstDelayMs: 10 * SECOND_MS, maxDelayMs: 60 * SECOND_MS },
      schedule: { everyMs, jitterMs: everyMs / 20, subjects: directories.map(({ name }) => name) },
      async run({ subject, signal, log }) {
        const directory = directories.find(({ name }) => name === subject);
        // One of earlier settings.
        if (directory === undefined) return;
        const { refreshDirectory } = await import("../access/ldap/directory-refresh.ts");
        const { seen, ended } = await refreshDirectory(parts, directory, signal);
        log(`${seen} people were looked up, ${ended.length} lost their tokens and sessions`);
        for (const account of ended)
          logger.warn(
            { account, directory: subject },
            "somebody is gone from the directory, or disabled there: groups, tokens and sessions have ended",
          );
      },
    },
  ];
}

/** Thousands of people, each by two searches. */
const REFRESH_TIMEOUT_MS = 600 * SECOND_MS;

/** Counts what directories were asked. */
export function countDirectories(metrics: Metrics, names: readonly string[]) {
  const away = new Map(names.map((name) => [name, false]));
  const failures = new Map(names.map((name) => [name, 0]));
  metrics.addGauges("directory_up", "Whether a directory (auth.ldap) answered when it was asked last.", () =>
    [...away].map(([directory, isAway]) => ({ labels: { directory }, value: isAway ? 0 : 1 })),
  );
  metrics.addCounters("directory_failures_total", "Questions that a directory did not answer.", () =>
    [...failures].map(([directory, value]) => ({ labels: { directory }, value })),
  );
  const observe = metrics.addHistogram({
    name: "directory_seconds",
    help: "Time that directories took to answer a search, or to take or refuse a password.",
    kinds: ["search", "password"],
    buckets: ACCESS_BUCKETS,
  });
  return {
    setAway: (name: string, isAway: boolean): void => void away.set(name, isAway),
    asked(name: string, kind: "search" | "password", seconds: number, isAnswered: boolean): void {
      observe[kind](seconds);
      if (!isAnswered) failures.set(name, failures.get(name)! + 1);
    },
  };
}

/** Counts what became of passwords; `none`: no directory knew the name. */
export function countDirectorySignIns(metrics: Metrics, names: readonly string[]): (result: DirectoryResult, directory?: string) => void {
  const totals = [...names, NONE].flatMap((directory) => DIRECTORY_RESULTS.map((result) => ({ labels: { directory, result }, value: 0 })));
  metrics.addCounters(
    "directory_sign_ins_total",
    "Passwords of people of directories, by what became of them; for those that were remembered no directory was asked.",
    () => totals,
  );
  return (result, directory = NONE) =>
    void totals.find(({ labels }) => labels.directory === directory && labels.result === result)!.value++;
}

const NONE = "none";
