// The role `doctor`: what it opens, and its report. Not here: the checks (doctor.ts), arguments (main.ts).
import type { Config } from "../../config.ts";
import { sizeBytes } from "../../config-kinds.ts";
import type { LeaseTimes } from "../../content/blobs.ts";
import type { BlobStore } from "../../content/blobs/blob-store.ts";
import { requireOwnStore } from "../../content/store-binding.ts";
import { systemClock } from "../../platform/clock.ts";
import { openDataDirectory } from "../../platform/data-directory.ts";
import type { Database } from "../../platform/database/database.ts";
import type { DatabaseReader } from "../../platform/database/database-reader.ts";
import { disposable } from "../../platform/disposable.ts";
import type { Logger } from "../../platform/log.ts";
import { createRateLimiter } from "../../platform/rate-limiter.ts";
import { shownBytes, type Report } from "../../platform/report.ts";
import { UsageError } from "../../platform/startup-error.ts";
import { examine } from "./doctor.ts";

/** The parts that the command gets: openers for what the configuration names, and the report. */
export interface DoctorCommandParts {
  readonly config: Config;
  readonly logger: Logger;
  readonly report: Report;
  readonly times: LeaseTimes;
  openDatabase(config: Config, logger: Logger): Promise<Database>;
  openReader(config: Config, logger: Logger): Promise<DatabaseReader>;
  openStore(config: Config): Promise<BlobStore>;
  /** The configured store's name for messages. */
  nameStore(config: Config): string;
}

/** Examines the registry; false if there are problems. Errors: `StartupError` and those of `examine`. */
export async function runDoctor(
  parts: DoctorCommandParts,
  options: { readonly deep: boolean; readonly repair: boolean; readonly rate: string; readonly from: string },
): Promise<boolean> {
  const { config, logger, report } = parts;
  const rate = sizeBytes({ about: "", min: "0", max: "1TiB" }).parse(options.rate, { directory: "" });
  if (!rate.ok) throw new UsageError(`--rate ${rate.problem}`);
  if (!/^\d{1,15}$/.test(options.from)) throw new UsageError("--from is a blob's number, as the progress shows it");
  const isEmbedded = config.database.url === undefined;
  // Two processes must never write to one SQLite file: repairs need the server to be stopped.
  const directory = isEmbedded && options.repair ? await openDataDirectory(config.data) : undefined;
  try {
    await using reader = disposable(await parts.openReader(config, logger));
    await using store = disposable(await parts.openStore(config));
    // In another store nearly every blob would be missing, and nearly every key would be an orphan: repairs would remove both.
    await requireOwnStore(reader.it.live, store.it, parts.nameStore(config));
    await using repairs = options.repair ? disposable(await parts.openDatabase(config, logger)) : undefined;
    const result = await examine({
      executor: reader.it.live,
      repairs: repairs?.it,
      store: store.it,
      clock: systemClock,
      times: parts.times,
      isDeep: options.deep,
      rateLimiter: createRateLimiter(rate.value),
      fromId: Number(options.from),
      orphanAgeMs: (config.limits.uploadAgeSeconds + 24 * 3600) * 1000,
      onProblem: (problem) =>
        report.line(
          "problem",
          problem,
          `${problem.kind} ${problem.subject}: ${problem.detail}${problem.repositories.length === 0 ? "" : ` [${problem.repositories.join(", ")}]`}` +
            `${problem.isRepaired ? " - repaired" : ""}`,
        ),
      onProgress: (state) =>
        report.progress("progress", state, () => {
          const from = state.after === undefined ? "" : `; go on here with --from ${state.after}`;
          return `${state.phase}: ${state.done}, ${shownBytes(state.bytes)}${from}`;
        }),
    });
    report.line(
      "result",
      result,
      `${result.blobs} blobs (${shownBytes(result.blobBytes)}; ${shownBytes(result.readBytes)} read), ${result.keys} keys in the store, ` +
        `${result.links} links, ${result.usages} recounts of usage, ${result.manifests} manifests: ${result.found} problems, ${result.repaired} repaired`,
    );
    // Loaded only where there are directories: its packages are not needed otherwise.
    const away =
      Object.keys(config.auth.ldap).length === 0 ? 0 : await (await import("./check-directories.ts")).checkDirectories(config, report);
    return result.found === 0 && away === 0;
  } finally {
    directory?.close();
  }
}
