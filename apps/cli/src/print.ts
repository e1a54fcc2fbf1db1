// Prints answers: as a table for people, as JSON and YAML for programs. Not here: the columns of a verb (verbs/).
import { stringify } from "yaml";
import { plain, printLine, type Streams } from "./streams.ts";
import type { Column } from "./verb.ts";

/** The output formats. */
export type OutputForm = "table" | "wide" | "json" | "yaml";

/** Prints one value: in a table, each column on its own line. */
export function printOne(streams: Streams, form: OutputForm, columns: readonly Column[], value: unknown): void {
  if (form === "json") return printLine(streams, JSON.stringify(value, undefined, 2));
  if (form === "yaml") return void streams.stdout.write(stringify(value));
  const shown = columnsOf(columns, form);
  const width = Math.max(0, ...shown.map(({ title }) => title.length));
  for (const column of shown) printLine(streams, `${`${column.title}`.padEnd(width)}  ${cellOf(column, value)}`.trimEnd());
}

/** Prints a list. */
export function printList(streams: Streams, form: OutputForm, columns: readonly Column[], items: readonly unknown[]): void {
  if (form === "json") return printLine(streams, JSON.stringify(items, undefined, 2));
  if (form === "yaml") return void streams.stdout.write(stringify(items));
  const shown = columnsOf(columns, form);
  const rows = [shown.map(({ title }) => title), ...items.map((item) => shown.map((column) => cellOf(column, item)))];
  const widths = shown.map((_, at) => rows.reduce((most, row) => Math.max(most, lengthOf(row[at] ?? "")), 0));
  for (const row of rows)
    printLine(
      streams,
      row
        .map((cell, at) => cell + " ".repeat((widths[at] ?? 0) - lengthOf(cell)))
        .join("  ")
        .trimEnd(),
    );
}

/** Prints the items of a stream as they arrive; `line` formats one for the table. */
export function createItemPrinter(streams: Streams, form: OutputForm, columns: readonly Column[]): (item: unknown) => void {
  const shown = columnsOf(columns, form);
  let isFirst = true;
  return (item) => {
    if (form === "json") printLine(streams, JSON.stringify(item));
    else if (form === "yaml") streams.stdout.write(`---\n${stringify(item)}`);
    else {
      // Later items are not known yet, so columns cannot be aligned to their widest cell: tabs separate them.
      if (isFirst && shown.length > 1) printLine(streams, shown.map(({ title }) => title).join("\t"));
      printLine(streams, shown.map((column) => cellOf(column, item)).join("\t"));
    }
    isFirst = false;
  };
}

function columnsOf(columns: readonly Column[], form: OutputForm): readonly Column[] {
  return form === "wide" ? columns : columns.filter(({ wide }) => wide !== true);
}

const lengthOf = (text: string): number => Array.from(text).length;

function cellOf({ of }: Column, item: unknown): string {
  const value = typeof of === "string" ? valueAt(item, of) : of(item as never);
  return plain(textOf(value)).replaceAll(/[\t\n]/g, " ");
}

function valueAt(item: unknown, path: string): unknown {
  return path.split(".").reduce<unknown>((value, name) => (value as Readonly<Record<string, unknown>> | null | undefined)?.[name], item);
}

function textOf(value: unknown): string {
  if (value === undefined || value === null) return "-";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length === 0 ? "-" : value.map(textOf).join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** A size as people read it: 12.3 MiB. */
export function sizeText(bytes: number | null): string {
  if (bytes === null) return "-";
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  const power = bytes < 1024 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return power === 0 ? `${bytes} B` : `${(bytes / 1024 ** power).toFixed(1)} ${units[power]}`;
}

/** A moment as people read it, in UTC, to the second. */
export function timeText(time: string | null): string {
  return time === null ? "-" : `${new Date(time).toISOString().slice(0, 19).replace("T", " ")}Z`;
}
