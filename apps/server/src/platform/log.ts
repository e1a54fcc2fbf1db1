// The log: one line an event on standard output, as JSON or for people, without secrets. Not here: what is logged and when.
import { randomBytes } from "node:crypto";
import { pino, type DestinationStream, type Logger, type LoggerOptions } from "pino";
import { createPrettyStream } from "./log-pretty.ts";
import { maskKeys, maskText } from "./log-mask.ts";

/** A logger; children carry fields of their own. Errors go in the field `err`. */
export type { Logger } from "pino";

/** How to log. */
export interface LogOptions {
  readonly level: "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "silent";
  /** `auto`: pretty on a terminal, else json. */
  readonly format: "auto" | "json" | "pretty";
  /** Fields of whatever a line is written in, such as the ids of a trace; asked for each line. */
  readonly contextFields?: () => Readonly<Record<string, string>>;
  /** Where lines go instead of standard output; for tests. */
  readonly stream?: DestinationStream;
}

/** A log with a way to end it. */
export interface Log {
  readonly logger: Logger;
  /** Writes what is still in memory, for the end of the process. */
  flush(): void;
}

/** Lines that a blocked standard output may hold back; beyond it they are dropped, so that a stuck reader cannot exhaust memory. */
const BACKLOG_BYTES_MAX = 16 * 1024 * 1024;

/** An error's causes are followed this far: enough for any real chain, and an end for one that is a ring. */
const CAUSES_MAX = 5;

/** Creates the log. Secrets are masked by the field's name and, in texts, by shape: passwords in URLs, tokens, signed queries. */
export function createLog(options: LogOptions): Log {
  const settings: LoggerOptions = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: {
      level: (level) => ({ level }),
      log: maskKeys,
    },
    serializers: { err: (error: unknown) => describeError(error, 0) },
    hooks: { streamWrite: maskText },
    ...(options.contextFields === undefined ? {} : { mixin: options.contextFields }),
  };
  const isPretty = options.format === "pretty" || (options.format === "auto" && process.stdout.isTTY);
  if (options.stream !== undefined || isPretty) {
    const target = options.stream ?? process.stdout;
    return { logger: pino(settings, isPretty ? createPrettyStream(target) : target), flush: () => undefined };
  }
  // Not synchronous: a slow reader of the pipe must not stop requests.
  const destination = pino.destination({ dest: 1, sync: false, maxLength: BACKLOG_BYTES_MAX });
  const batching = batchLines(destination);
  const flush = (): void => {
    batching.flush();
    destination.flushSync();
  };
  // Also where the process ends by an error that nobody caught.
  process.once("exit", batching.flush);
  return { logger: pino(settings, batching), flush };
}

/** Lines of so long are written together: a system call for each costs more than the line itself where many requests have one. */
const BATCH_MS = 10;
/** And not more than this at a time. */
const BATCH_LENGTH = 64 * 1024;

/** Writes a line at once where none was written just before; further ones follow together, in their order. */
export function batchLines(stream: DestinationStream): DestinationStream & { flush(): void } {
  let waiting = "";
  let timer: NodeJS.Timeout | undefined;

  function flush(): void {
    if (waiting === "") return;
    const lines = waiting;
    waiting = "";
    stream.write(lines);
  }

  function onTime(): void {
    if (waiting === "") timer = undefined;
    else {
      flush();
      timer?.refresh();
    }
  }

  return {
    write(line) {
      if (timer === undefined) {
        stream.write(line);
        timer = setTimeout(onTime, BATCH_MS).unref();
        return;
      }
      waiting += line;
      if (waiting.length >= BATCH_LENGTH) flush();
    },
    flush,
  };
}

/** Only what every error has: drivers and SDKs hang requests with credentials on theirs. */
function describeError(error: unknown, depth: number): unknown {
  if (!(error instanceof Error)) return typeof error === "object" ? "not an Error" : error;
  const code: unknown = "code" in error ? error.code : undefined;
  return {
    type: error.name,
    message: error.message,
    ...(typeof code === "string" || typeof code === "number" ? { code } : {}),
    stack: error.stack,
    ...(error.cause === undefined || depth >= CAUSES_MAX ? {} : { cause: describeError(error.cause, depth + 1) }),
  };
}

/** Whether lines of a level are written at all. */
export function isLogged(logger: Logger, level: "info" | "debug"): boolean {
  return logger.isLevelEnabled(level);
}

/**
 * A cheaper way to write lines of level info, for one a request: a fifth of what the logger takes. Values are texts, numbers, and flat
 * objects of texts; the caller sees to it that no field holds a secret by its name, and secrets in texts are masked as everywhere.
 */
export function lineWriterOf(logger: Logger): (fields: Readonly<Record<string, unknown>>, message: string) => void {
  const stream = (logger as unknown as Record<symbol, DestinationStream>)[pino.symbols.streamSym];
  const mixin = (logger as unknown as Record<symbol, unknown>)[pino.symbols.mixinSym];
  // Lines that carry a trace's ids get them from the logger.
  if (stream === undefined || mixin !== undefined) return (fields, message) => logger.info(fields, message);
  return (fields, message) => {
    const text = JSON.stringify(fields);
    const rest = text.length > 2 ? `,${text.slice(1, -1)}` : "";
    stream.write(maskText(`{"level":"info","time":"${new Date().toISOString()}"${rest},"msg":${JSON.stringify(message)}}\n`));
  };
}

/** Makes an id for each request: a client's own `x-request-id` when it is harmless, else one that no other process makes. */
export function createRequestIds(): (header: string | readonly string[] | undefined) => string {
  // 48 random bits tell processes apart; the count tells this one's requests apart, and costs nothing.
  const start = randomBytes(6).toString("hex");
  let count = 0;
  return (header) => (typeof header === "string" && /^[\w.-]{1,64}$/.test(header) ? header : `${start}-${(count++).toString(36)}`);
}
