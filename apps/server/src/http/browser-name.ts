// What a browser is called in lists: a word or two of what it says of itself. Pure. Not here: believing it.

const BROWSERS: readonly (readonly [RegExp, string])[] = [
  [/\bEdg(?:e|A|iOS)?\//, "Edge"],
  [/\bOPR\//, "Opera"],
  [/\b(?:Firefox|FxiOS)\//, "Firefox"],
  [/\b(?:Chrome|CriOS|Chromium)\//, "Chrome"],
  [/\bSafari\//, "Safari"],
];
const SYSTEMS: readonly (readonly [RegExp, string])[] = [
  [/\bAndroid\b/, "Android"],
  [/\b(?:iPhone|iPad)\b/, "iOS"],
  [/\bWindows\b/, "Windows"],
  [/\bMac OS X\b|\bMacintosh\b/, "macOS"],
  [/\bLinux\b/, "Linux"],
];

/** As `Firefox on Linux`; of what is not known the first word. */
export function browserName(userAgent: string | undefined): string {
  const said = (userAgent ?? "").slice(0, 500);
  const browser = BROWSERS.find(([pattern]) => pattern.test(said))?.[1] ?? said.split(/[\s/]/)[0] ?? "";
  const system = SYSTEMS.find(([pattern]) => pattern.test(said))?.[1];
  return (system === undefined ? browser : `${browser} on ${system}`).trim();
}
