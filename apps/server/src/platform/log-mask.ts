// Removes secrets from log lines: by a field's name, and in any text by shape. Not here: the log itself (log.ts).

const MASK = "[masked]";

/** Fields whose value is always a secret. `tokenId` and `secretName` are none: only these endings may follow the name. */
const SECRET_KEY =
  /(?:authorization|cookie|passwords?|passphrase|secrets?|tokens?|secret_?key|secret_?access_?key|private_?key|api_?key|credentials?)$/i;

/** Deeper objects are not walked: log lines are flat, and cycles must end. */
const DEPTH_MAX = 4;

/** Replaces the values of secret fields; returns the same object if there is none. Errors are left to the log's serializer. */
export function maskKeys(fields: Record<string, unknown>): Record<string, unknown> {
  return maskObject(fields, 0);
}

function maskObject(fields: Record<string, unknown>, depth: number): Record<string, unknown> {
  let copy: Record<string, unknown> | undefined;
  for (const key of Object.keys(fields)) {
    const value = fields[key];
    const masked = value === undefined || value === null ? value : SECRET_KEY.test(key) ? MASK : maskValue(value, depth);
    if (masked !== value) {
      copy ??= { ...fields };
      copy[key] = masked;
    }
  }
  return copy ?? fields;
}

function maskValue(value: unknown, depth: number): unknown {
  if (typeof value !== "object" || value === null || value instanceof Error || value instanceof Date) return value;
  if (depth >= DEPTH_MAX) return "[deep]";
  if (!Array.isArray(value)) return maskObject(value as Record<string, unknown>, depth + 1);
  let copy: unknown[] | undefined;
  for (let i = 0; i < value.length; i++) {
    const masked = maskValue(value[i], depth + 1);
    if (masked !== value[i]) {
      copy ??= [...(value as unknown[])];
      copy[i] = masked;
    }
  }
  return copy ?? value;
}

/** One search for any of the shapes below, so that a usual line costs a single pass. */
const SUSPECT = /:\/\/|bearer |basic |eyJ|berth_|[?&](?:x-|sig|token|access)/i;
/** The part between `://` and `@` of an address. */
const URL_PASSWORD = /(:\/\/[^\s/:@"\\]*):[^\s/@"\\]+@/g;
const AUTHORIZATION = /\b(bearer|basic) +[\w.~+/=-]{6,}/gi;
/** A JSON web token anywhere in a text. */
const WEB_TOKEN = /\beyJ[\w-]{5,}\.[\w-]+\.[\w-]*/g;
/** Secrets of this registry: access/secrets.ts. */
const OWN_SECRET = /\bberth_[a-z]+_[\w-]{43,}/g;
/** Query parameters that sign or authorize an address: Amazon's and compatible ones, Google's, Alibaba's, Azure's, OAuth's. */
const SIGNED_QUERY =
  /([?&](?:x-(?:amz|goog|oss|cos|obs)-(?:signature|credential|security-token)|signature|sig|token|access_token|id_token|code|password|awsaccesskeyid|ossaccesskeyid)=)[^&\s"'\\<>]+/gi;

/** Replaces secrets in a text: passwords in addresses, Authorization values, tokens, signatures of signed addresses. */
export function maskText(line: string): string {
  if (!SUSPECT.test(line)) return line;
  return line
    .replaceAll(URL_PASSWORD, `$1:${MASK}@`)
    .replaceAll(AUTHORIZATION, `$1 ${MASK}`)
    .replaceAll(WEB_TOKEN, MASK)
    .replaceAll(OWN_SECRET, MASK)
    .replaceAll(SIGNED_QUERY, `$1${MASK}`);
}
