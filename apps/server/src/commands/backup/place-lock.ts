// The lock of a place: either backups run there, which rely on existing blobs, or a pruning, which deletes blobs; never both at once. A
// place has no locks of its own, so each side first writes a file that announces it and then looks for the other's: when both begin at
// once, at least one sees the other. A killed process counts as gone when its file is old. Not here: the work (backup.ts, prune.ts).
import { randomBytes } from "node:crypto";
import type { Clock } from "../../platform/clock.ts";
import { StartupError } from "../../platform/startup-error.ts";
import type { BackupPlace } from "./backup-place.ts";

/** The kinds of work in a place. */
export type Work = "backup" | "prune";

/** A lock that is held. */
export interface PlaceLock {
  /** Errors: `StartupError` if the lock was removed because it was not renewed for long: the work may have been undone since. */
  check(): Promise<void>;
  end(): Promise<void>;
}

const FOLDER = "turns/";
/** Twenty renewals may fail before the lock counts as abandoned. */
const WORD_MS = 30_000;
const GONE_AFTER_MS = 20 * WORD_MS;

/**
 * Takes a lock, which lasts until `end`. A pruning takes over from an interrupted one.
 * Errors: `StartupError` if the other kind of work is running.
 */
export async function takePlaceLock(place: BackupPlace, work: Work, clock: Clock): Promise<PlaceLock> {
  const own = `${FOLDER}${work}-${randomBytes(8).toString("hex")}`;
  let isEnded = false;
  async function say(): Promise<void> {
    await place.write(own, once(Buffer.from(new Date(clock.now()).toISOString())));
  }
  async function end(): Promise<void> {
    isEnded = true;
    clearInterval(timer);
    await saying;
    await place.delete([own]);
  }
  await say();
  await place.sync();
  let saying: Promise<void> = Promise.resolve();
  const timer = setInterval(() => {
    saying = (async () => {
      // A renewal after the removal would claim a lost lock.
      if (!isEnded && (await place.sizeOf(own)) !== undefined) await say();
    })().catch(() => undefined);
  }, WORD_MS).unref();
  try {
    for await (const name of place.list(FOLDER)) {
      if (name === own) continue;
      const said = await readWord(place, name);
      if (said === undefined) continue;
      const isGone = clock.now() - said > GONE_AFTER_MS;
      const isPrune = name.startsWith(`${FOLDER}prune-`);
      if (isGone || (work === "prune" && isPrune)) await place.delete([name]);
      else if (isPrune || work === "prune") {
        throw new StartupError(
          `${place.shown}: ${isPrune ? "a pruning" : "a backup"} is under way there, last heard of at ${new Date(said).toISOString()}. ` +
            `Try again when it is done; if it was killed, it counts as gone ${GONE_AFTER_MS / 60_000} minutes after that.`,
        );
      }
    }
  } catch (error) {
    await end();
    throw error;
  }
  return {
    end,
    async check() {
      if ((await place.sizeOf(own)) !== undefined) return;
      throw new StartupError(
        `${place.shown}: nothing was heard of this ${work} for so long that another work has begun there: run it again`,
      );
    },
  };
}

/** When the lock was last renewed; undefined if it has ended meanwhile. */
async function readWord(place: BackupPlace, name: string): Promise<number | undefined> {
  const sizeBytes = await place.sizeOf(name);
  if (sizeBytes === undefined) return undefined;
  const pieces: Uint8Array[] = [];
  for await (const piece of place.read(name, sizeBytes)) pieces.push(Buffer.from(piece));
  const time = Date.parse(Buffer.concat(pieces).toString("utf8"));
  // A file that cannot be parsed was not written by Berth and counts as infinitely old.
  return Number.isNaN(time) ? 0 : time;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  yield bytes;
}
