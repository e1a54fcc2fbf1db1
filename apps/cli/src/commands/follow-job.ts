// Follows a job until it ends, over lost connections and replicas that stop. Not here: resuming a stream (@berth/api-client).
import { followJob as operation, type JobEventView } from "@berth/api/jobs";
import { connect } from "../connect.ts";
import { EXIT } from "../misuse.ts";
import { createItemPrinter, type OutputForm, timeText } from "../print.ts";
import { note, type Streams } from "../streams.ts";
import type { Given } from "../verb.ts";

const ENDED: ReadonlySet<string> = new Set(["succeeded", "failed", "cancelled"]);
const isLast = ({ job }: JobEventView): boolean => job !== null && ENDED.has(job.state);

/** Prints the job's lines; the exit code says whether it succeeded. */
export async function followJob(given: Given, streams: Streams): Promise<number> {
  const client = await connect(given, streams);
  const columns = [{ title: "EVENT", of: textOf }];
  const print = createItemPrinter(streams, (given.options["output"] ?? "table") as OutputForm, columns);
  let state = "";
  const params = { job: given.words[0] ?? "" };
  for await (const event of client.stream(operation, { params, isLast, signal: streams.signal })) {
    print(event);
    state = event.job?.state ?? state;
    if (isLast(event) && event.job?.error) note(streams, `berth: the job ${params.job} has ended: ${event.job.error}`);
  }
  return state === "succeeded" ? EXIT.ok : EXIT.failed;
}

function textOf({ at, line, job }: JobEventView): string {
  if (job === null) return `${timeText(at)}  ${line ?? ""}`;
  const { progress, state, attempt } = job;
  const done = progress === null ? "" : `, ${progress.done}${progress.total === null ? "" : ` of ${progress.total}`} done`;
  return `${timeText(at)}  ${state}${attempt > 1 ? `, attempt ${attempt}` : ""}${done}`;
}
