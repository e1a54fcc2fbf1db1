// How many files and connections the system lets this process open. Not here: what is opened.
import { readFile } from "node:fs/promises";

/** Descriptors kept for files, the database and the store if the limit is low; Node.js itself uses some thirty. */
const LEAST_FOR_OTHERS = 256;

/** The limit of open files, connections included; undefined if it is unknown or unlimited. Node.js has raised it to the hard limit. */
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

/** How many connections may be accepted so that a quarter of the limit is left: a connection that pushes or pulls also has a file open. */
export function connectionsWithin(openFiles: number | undefined, wanted: number): number {
  if (openFiles === undefined) return wanted;
  return Math.max(1, Math.min(wanted, openFiles - Math.max(LEAST_FOR_OTHERS, Math.floor(openFiles / 4))));
}
