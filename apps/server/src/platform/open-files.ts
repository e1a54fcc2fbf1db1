// How many files and connections the system lets this process have open. Not here: what is opened.
import { readFile } from "node:fs/promises";

/** Kept free for files, the database and the store where the limit is low; Node.js itself holds some thirty. */
const LEAST_FOR_OTHERS = 256;

/** The limit of open files, connections included; undefined where the system does not say or has none. Node.js has raised it to the hard limit. */
export async function openFilesLimit(): Promise<number | undefined> {
  let text: string;
  try {
    text = await readFile("/proc/self/limits", "utf8");
  } catch {
    // Not Linux.
    return undefined;
  }
  return parseOpenFilesLimit(text);
}

/** Reads `/proc/PID/limits`. Source: proc(5). */
export function parseOpenFilesLimit(text: string): number | undefined {
  const soft = /^Max open files\s+(\d+)/m.exec(text)?.[1];
  return soft === undefined ? undefined : Number(soft);
}

/** How many connections may be taken, so that a quarter of the limit is left: a connection that pushes or pulls has a file open as well. */
export function connectionsWithin(openFiles: number | undefined, wanted: number): number {
  if (openFiles === undefined) return wanted;
  return Math.max(1, Math.min(wanted, openFiles - Math.max(LEAST_FOR_OTHERS, Math.floor(openFiles / 4))));
}
