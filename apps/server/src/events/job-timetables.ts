// When repeating jobs are due. Not here: the fields of a calendar (cron.ts), keeping one job of each such kind (job-runner.ts).
import { parseCron } from "./cron.ts";
import type { JobSchedule } from "./job-kinds.ts";

/** When a kind is due. */
export interface JobTimetable {
  /** When the first job is due if there was none. */
  first(now: number): number;
  next(now: number): number;
  readonly jitterMs: number;
}

/** Creates the timetable of a schedule. Errors: `RangeError` for invalid times. */
export function createJobTimetable(schedule: JobSchedule): JobTimetable {
  const { jitterMs } = schedule;
  const late = (): number => Math.floor(Math.random() * jitterMs);
  if ("everyMs" in schedule) return { first: (now) => now, next: (now) => now + schedule.everyMs + late(), jitterMs };
  const cron = parseCron(schedule.cron, schedule.timeZone);
  const next = (now: number): number => cron.next(now) + late();
  return { first: next, next, jitterMs };
}
