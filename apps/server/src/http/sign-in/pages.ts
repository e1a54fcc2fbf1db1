// The small pages of signing in: without scripts, without anything from elsewhere, in no frame. Not here: what they say (texts.ts), who asks for
// them (sign-in.ts).
import { createHash } from "node:crypto";
import type { ServerResponse } from "node:http";
import type { Language } from "./texts.ts";

/** Markup: all that is put into it is made harmless, unless it is markup itself. */
export interface Html {
  readonly html: string;
}

/** Makes markup of a template. */
export function html(parts: TemplateStringsArray, ...values: readonly (string | number | Html | readonly Html[])[]): Html {
  const shown = values.map((value) => {
    if (typeof value === "string" || typeof value === "number") return escape(String(value));
    return "html" in value ? value.html : value.map((each) => each.html).join("");
  });
  return { html: parts.map((part, index) => part + (shown[index] ?? "")).join("") };
}

const ENTITIES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (char) => ENTITIES[char]!);
}

const STYLE = `
:root{color-scheme:light dark;--line:#8886}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;display:flex;justify-content:center;font:1rem/1.5 system-ui,sans-serif}
main{width:100%;max-width:26rem;padding:4rem 1.25rem}
h1{font-size:1.5rem;margin:0 0 1.5rem}
form{margin:1.25rem 0;display:grid;gap:.75rem}
label{display:grid;gap:.25rem}
input,button,a.button{font:inherit;width:100%;padding:.6rem .75rem;border:1px solid var(--line);border-radius:.5rem}
button,a.button{display:block;text-align:center;text-decoration:none;color:inherit;background:transparent;cursor:pointer;margin:.5rem 0}
button.main{background:#1f6feb;border-color:#1f6feb;color:#fff}
input.code{font-family:ui-monospace,monospace;letter-spacing:.15em;text-transform:uppercase}
p.problem{border-left:.25rem solid #d1242f;padding-left:.75rem}
`;
const STYLE_HASH = createHash("sha256").update(STYLE).digest("base64");

/** A page to be sent. */
export interface Page {
  readonly status: number;
  readonly language: Language;
  readonly title: string;
  readonly body: Html;
  /** Origins besides our own that a form may lead to, by a redirect. */
  readonly formTargets?: readonly string[] | undefined;
  readonly cookies?: readonly string[] | undefined;
}

/** Sends it. */
export function sendPage(response: ServerResponse, { status, language, title, body, formTargets = [], cookies = [] }: Page): void {
  const page = html`<!doctype html>
    <html lang="${language === "zh" ? "zh-CN" : "en"}">
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width, initial-scale=1" />
      <meta name="robots" content="noindex" />
      <title>${title} · Berth</title>
      <style>
        ${{ html: STYLE }}
      </style>
      <main>
        <h1>${title}</h1>
        ${body}
      </main>
     `.html;
  // It is a page, unlike all else that is answered, and so has forms; still nothing of it runs, and nobody frames it.
  response.setHeader(
    "content-security-policy",
    `default-src 'none'; style-src 'sha256-${STYLE_HASH}'; form-action ${["'self'", ...formTargets].join(" ")}; base-uri 'none'; frame-ancestors 'none'`,
  );
  response.writeHead(status, {
    "content-type": "text/html; charset=utf-8",
    "content-length": Buffer.byteLength(page),
    "cache-control": "no-store",
    "x-frame-options": "DENY",
    // Forms say where they come from; other sites do not learn addresses with codes in them.
    "referrer-policy": "same-origin",
    vary: "accept-language, cookie",
    ...(cookies.length === 0 ? {} : { "set-cookie": [...cookies] }),
  });
  response.end(page);
}

/** Sends a browser elsewhere, by a request without a body. */
export function redirect(response: ServerResponse, to: string, cookies: readonly string[] = []): void {
  response.writeHead(303, {
    location: to,
    "content-length": 0,
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    ...(cookies.length === 0 ? {} : { "set-cookie": [...cookies] }),
  });
  response.end();
}

/** Where a browser goes when it has signed in: a place of this registry, whatever the address says. */
export function localPath(text: string | null | undefined): string {
  const fallback = "/signin";
  // No character that one program takes for a slash and another does not.
  if (text === null || text === undefined || text.length > 1000 || !/^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(text)) return fallback;
  const base = "http://registry.invalid";
  const url = URL.parse(text, base);
  if (url === null || url.origin !== base || url.pathname.startsWith("//")) return fallback;
  return url.pathname + url.search + url.hash;
}
