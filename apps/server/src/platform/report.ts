// The output of a long-running command: findings and results on standard output, as text or as JSON lines, and progress on standard error.
// Not here: what is reported.

/** The output of a command. `event` names the kind of line in JSON, and `text` is the same for people. */
export interface Report {
  /** A finding or the result. `values` are plain values. */
  line(event: string, values: object, text: string): void;
  /** Progress: a line now and then, however often it is called. */
  progress(event: string, values: object, text: () => string): void;
  /** A problem with the work itself, not a finding; on standard error, but within the JSON output where that is chosen. */
  warning(message: string): void;
  /** Why the command ended early. */
  failure(message: string): void;
}

/** A terminal shows progress often; a log only needs to show that there is some. */
const TERMINAL_MS = 500;
const LOG_MS = 10_000;

/** Creates a report on the process's own streams. */
export function createReport(options: { readonly json: boolean }): Report {
  const isTerminal = process.stderr.isTTY && !options.json;
  let toldAt = performance.now();
  let isLineOpen = false;
  function endLine(): void {
    if (isLineOpen) process.stderr.write("\r\x1b[K");
    isLineOpen = false;
  }
  return {
    line(event, values, text) {
      endLine();
      process.stdout.write(options.json ? `${JSON.stringify({ event, ...values })}\n` : `${text}\n`);
    },
    progress(event, values, text) {
      const now = performance.now();
      if (now - toldAt < (isTerminal ? TERMINAL_MS : LOG_MS)) return;
      toldAt = now;
      if (options.json) process.stderr.write(`${JSON.stringify({ event, ...values })}\n`);
      else if (isTerminal) process.stderr.write(`\r\x1b[K${text()}`);
      else process.stderr.write(`${text()}\n`);
      isLineOpen = isTerminal;
    },
    warning(message) {
      endLine();
      if (options.json) process.stdout.write(`${JSON.stringify({ event: "warning", message })}\n`);
      else process.stderr.write(`warning: ${message}\n`);
    },
    failure(message) {
      endLine();
      if (options.json) process.stdout.write(`${JSON.stringify({ event: "failed", message })}\n`);
      else process.stderr.write(`${message}\n`);
    },
  };
}

/** A size for people: `1.5 GiB`. */
export function shownBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
