// A template of one's own: JSON with fields in its texts. There is nothing to run in it: no conditions, no loops, no paths. The JSON is read first and the
// fields are put into its texts afterwards, so that no content can leave the text in which it stands. Not here: the other forms (webhook-forms.ts).

/** The fields that a template may name. */
export const TEMPLATE_FIELDS = ["kind", "repository", "tag", "digest", "project", "actor", "time", "id", "registry"] as const;
/** One of `TEMPLATE_FIELDS`. */
export type TemplateField = (typeof TEMPLATE_FIELDS)[number];

const FIELD = /\{\{([^{}]*)\}\}/g;
/** What a body grows to at most: fields are short, but may be named often. */
const RENDERED_MAX = 64 * 1024;

/** What is wrong with a template, in words that follow its name; undefined where nothing is. */
export function findTemplateProblem(template: string): string | undefined {
  let value: unknown;
  try {
    value = JSON.parse(template);
  } catch {
    return "must be JSON; fields such as {{tag}} stand in its texts";
  }
  if (typeof value !== "object" || value === null) return "must be a JSON object or list";
  // As JSON reads it: an escape may stand for a brace.
  for (const [, name] of JSON.stringify(value).matchAll(FIELD))
    if (!isField(name!.trim())) return `has an unknown field: known are ${TEMPLATE_FIELDS.join(", ")}`;
  const longest = Object.fromEntries(TEMPLATE_FIELDS.map((name) => [name, "x".repeat(256)])) as Record<TemplateField, string>;
  return renderTemplate(template, longest).length > RENDERED_MAX ? `may become longer than ${RENDERED_MAX} bytes` : undefined;
}

/** Fills a template's texts. Names of members are left as they are. */
export function renderTemplate(template: string, fields: Readonly<Record<TemplateField, string>>): string {
  return JSON.stringify(JSON.parse(template), (_, value: unknown) =>
    typeof value === "string" ? value.replaceAll(FIELD, (whole, name: string) => fieldOf(fields, name.trim()) ?? whole) : value,
  );
}

function isField(name: string): name is TemplateField {
  return (TEMPLATE_FIELDS as readonly string[]).includes(name);
}

function fieldOf(fields: Readonly<Record<TemplateField, string>>, name: string): string | undefined {
  return isField(name) ? fields[name] : undefined;
}
