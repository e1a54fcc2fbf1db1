// Records as lines for others: JSON, as the API shows them, and syslog messages. Pure. Not here: sending (audit-targets.ts).
import type { AuditRecord } from "./audit-chain.ts";
import { viewRecord } from "./audit-view.ts";

/** One record, without the end of the line. */
export function jsonLine(record: AuditRecord): string {
  return JSON.stringify(viewRecord(record));
}

/** Log audit. Source: RFC 5424, section 6.2.1. */
const FACILITY = 13;
const SEVERITY: Readonly<Record<AuditRecord["outcome"], number>> = { done: 6, refused: 4, failed: 4 };
/** Source: RFC 5424, section 7.3.1. */
const SEQUENCE_END = 2_147_483_647;
/** Source: RFC 5424, section 6: printable ASCII, of limited length; nothing is a dash. */
const nameOf = (text: string, max: number): string => text.replaceAll(/[^\x21-\x7e]/g, "").slice(0, max) || "-";

/** One record as a syslog message: the action is its MSGID, the record's number its sequence, and JSON its text. Source: RFC 5424. */
export function syslogMessage(record: AuditRecord, host: string): string {
  const priority = FACILITY * 8 + SEVERITY[record.outcome];
  const time = new Date(record.at).toISOString();
  const sequence = ((record.id - 1) % SEQUENCE_END) + 1;
  return `<${priority}>1 ${time} ${nameOf(host, 255)} berth - ${nameOf(record.action, 32)} [meta sequenceId="${sequence}"] ${jsonLine(record)}`;
}

/** A message with its length in front, so that nothing in it can look like another. Source: RFC 6587, section 3.4.1; RFC 5425, section 4.3. */
export function framed(message: string): string {
  return `${Buffer.byteLength(message)} ${message}`;
}
