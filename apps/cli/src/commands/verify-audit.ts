// Has the registry prove its audit log. Not here: the proof (the server's features/audit).
import { type AuditVerificationView, verifyAudit as operation } from "@berth/api/audit";
import { connect } from "../connect.ts";
import { EXIT } from "../misuse.ts";
import { createItemPrinter, type OutputForm } from "../print.ts";
import { note, type Streams } from "../streams.ts";
import type { Given } from "../verb.ts";

/** Prints what is wrong; the exit code says whether anything is. */
export async function verifyAudit(given: Given, streams: Streams): Promise<number> {
  const client = await connect(given, streams);
  let last: AuditVerificationView | undefined;
  for await (const progress of client.stream(operation, { signal: streams.signal })) last = progress;
  if (last?.isDone !== true) {
    note(streams, "berth: the verification ended before it was done: try again");
    return EXIT.failed;
  }
  const columns = ["code", "segment", "record", "message"].map((of) => ({ title: of.toUpperCase(), of }));
  const print = createItemPrinter(streams, (given.options["output"] ?? "table") as OutputForm, columns);
  for (const problem of last.problems) print(problem);
  const what = `${last.records} records in ${last.segments} segments`;
  note(
    streams,
    last.problems.length === 0 ? `berth: nothing is wrong with ${what}` : `berth: the audit log was changed: ${what} were looked at`,
  );
  if (last.removed !== null) {
    const { records, segments, throughRecord } = last.removed;
    note(
      streams,
      `berth: ${records} records in ${segments} segments, up to record ${throughRecord}, were deleted since they were old enough`,
    );
  }
  return last.problems.length === 0 ? EXIT.ok : EXIT.failed;
}
