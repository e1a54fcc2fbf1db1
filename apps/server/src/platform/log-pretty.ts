// Formats JSON log lines for people at a terminal. Not here: the log itself (log.ts).
import type { DestinationStream } from "pino";

const COLORS: Readonly<Record<string, string>> = { fatal: "\u001b[41m", error: "\u001b[31m", warn: "\u001b[33m", info: "\u001b[32m" };
const DIM = "\u001b[2m";
const PLAIN = "\u001b[0m";

/** A stream that takes JSON lines and writes `time LEVEL message key=value` to `target`, an error's stack below. */
export function createPrettyStream(target: DestinationStream): DestinationStream {
  return { write: (line) => target.write(prettyLine(line)) };
}

function prettyLine(line: string): string {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(line) as Record<string, unknown>;
  } catch {
    // Something else wrote to the stream: show it unchanged.
    return line;
  }
  const { time, level, msg, err, ...rest } = fields;
  const name = asText(level);
  const clock = asText(time).slice(11, 23);
  const pairs = Object.entries(rest).map(([key, value]) => ` ${DIM}${key}=${PLAIN}${asText(value)}`);
  const head = `${DIM}${clock}${PLAIN} ${COLORS[name] ?? DIM}${name.toUpperCase().padEnd(5)}${PLAIN} ${asText(msg)}${pairs.join("")}\n`;
  return head + describeStack(err);
}

function describeStack(err: unknown): string {
  if (typeof err !== "object" || err === null) return err === undefined ? "" : `  ${asText(err)}\n`;
  const { stack, message, cause } = err as Record<string, unknown>;
  const text = asText(stack ?? message).replaceAll(/^/gm, "  ");
  return `${text}\n${cause === undefined ? "" : `  caused by\n${describeStack(cause)}`}`;
}

function asText(value: unknown): string {
  if (typeof value === "string") return value;
  return value === undefined ? "" : JSON.stringify(value);
}
