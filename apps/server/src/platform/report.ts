// What a long-running command reports: its findings and its result on standard output, as text or as JSON lines, and how far it is on
// standard error. Not here: what there is to report.

/** Where a command reports. `event` names the kind of line in JSON, and `text` is the same for people. */
export interface Report {
  /** Something found, or the result. Plain values only. */
  line(event: string, values: object, text: string): void;
  /** How far it is: a line now and then, however often it is called. */
  progress(event: string, values: object, text: () => string): void;
  /** What is amiss with the work and not with what was found; on standard error, but in JSON. */
  warning(message: string): void;
  /** Why it ended early. */
  failure(message: string): void;
}

/** A person who watches wants to see it move; a log wants to show that it does. */
const TERMINAL_MS = 500;
const LOG_MS = 10_000;

/** Makes a report on the process's own streams. */
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
