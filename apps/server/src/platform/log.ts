// The log: one line for each event on standard output, as JSON or for people, without secrets. Not here: what is logged and when.
import { randomBytes } from "node:crypto";
import { pino, type DestinationStream, type Logger, type LoggerOptions } from "pino";
import { createPrettyStream } from "./log-pretty.ts";
import { maskKeys, maskText } from "./log-mask.ts";

/** A logger; children carry fields of their own. Errors go in the field `err`. */
export type { Logger } from "pino";

/** The options of the log. */
export interface LogOptions {
  readonly level: "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "silent";
  /** `auto`: pretty on a terminal, else json. */
  readonly format: "auto" | "json" | "pretty";
  /** Fields of the context in which a line is written, such as the ids of a trace; called for each line. */
  readonly contextFields?: () => Readonly<Record<string, string>>;
  /** The destination instead of standard output; for tests. */
  readonly stream?: DestinationStream;
}

/** A log that can be flushed. */
export interface Log {
  readonly logger: Logger;
  /** Writes the lines that are still in memory, before the process ends. */
  flush(): void;
}

/**
 * The length of the lines that are kept while standard output is blocked; further ones are dropped, so that a stuck reader cannot exhaust
 * memory.
 */
const BACKLOG_BYTES_MAX = 16 * 1024 * 1024;

/** The depth to which an error's causes are followed: enough for any real chain, and an end for a cyclic one. */
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
  // This also runs when the process ends with an uncaught error.
  process.once("exit", batching.flush);
  return { logger: pino(settings, batching), flush };
}

/** Lines of this period are written together: where many requests have a line, a system call for each costs more than the line itself. */
const BATCH_MS = 10;
/** The most text that is written at once. */
const BATCH_LENGTH = 64 * 1024;

/** Writes a line at once if none was written just before; further ones follow in batches, in their order. */
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

/** Only the standard fields of errors: drivers and SDKs attach requests with credentials to theirs. */
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

/** Whether lines of a level are written. */
export function isLogged(logger: Logger, level: "info" | "debug"): boolean {
  return logger.isLevelEnabled(level);
}

/**
 * A cheaper way to write one info line for each request: it takes a fifth of the logger's time. Values are texts, numbers, and flat objects
 * of texts. The caller must not use field names of secrets; secrets in texts are masked as everywhere.
 */
export function lineWriterOf(logger: Logger): (fields: Readonly<Record<string, unknown>>, message: string) => void {
  const stream = (logger as unknown as Record<symbol, DestinationStream>)[pino.symbols.streamSym];
  const mixin = (logger as unknown as Record<symbol, unknown>)[pino.symbols.mixinSym];
  // The logger adds a trace's ids to lines.
  if (stream === undefined || mixin !== undefined) return (fields, message) => logger.info(fields, message);
  return (fields, message) => {
    const text = JSON.stringify(fields);
    const rest = text.length > 2 ? `,${text.slice(1, -1)}` : "";
    stream.write(maskText(`{"level":"info","time":"${new Date().toISOString()}"${rest},"msg":${JSON.stringify(message)}}\n`));
  };
}

/** Creates an id for each request: the client's own `x-request-id` if it is harmless, or one that is unique to this process. */
export function createRequestIds(): (header: string | readonly string[] | undefined) => string {
  // 48 random bits distinguish processes; a cheap counter distinguishes the requests of this one.
  const start = randomBytes(6).toString("hex");
  let count = 0;
  return (header) => (typeof header === "string" && /^[\w.-]{1,64}$/.test(header) ? header : `${start}-${(count++).toString(36)}`);
}
