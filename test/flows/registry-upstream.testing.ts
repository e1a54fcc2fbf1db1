// An upstream that speaks the distribution API to another registry, as the feature that mirrors will: names, credentials and tokens, what answers mean.
// Not here: what goes wrong on the way in tests (upstreams.testing.ts), what becomes of its answers (distribution/pull-through.ts).
import { isDigest, hexOf, algorithmOf, type Digest } from "../../packages/oci/src/digest.ts";
import { projectOf, type Reference } from "../../packages/oci/src/reference.ts";
import type { ProjectTrait } from "../../apps/server/src/access/project-traits.ts";
import type { ReferrerDescriptor } from "../../apps/server/src/distribution/lists.ts";
import { type Upstream, UpstreamError, type UpstreamPlace, type UpstreamQuestion } from "../../apps/server/src/distribution/upstream.ts";
import { createOutbound, type OutboundAnswer, type OutboundRequest } from "../../apps/server/src/platform/outbound.ts";
import { OutboundError } from "../../apps/server/src/platform/outbound-errors.ts";

/** Where the other registry is, and who asks there. */
export interface Mirror {
  readonly origin: string;
  /** Stands before what follows the project in a repository's name. */
  readonly prefix: string;
  readonly name: string | undefined;
  readonly password: string | undefined;
}

/** What projects have that mirror another registry. */
export const mirrorTrait = {
  name: "test-mirror",
  pushRefusal: "it is a proxy of another registry",
  read: (stored: unknown): Mirror => stored as Mirror,
} as const satisfies ProjectTrait<Mirror>;

const MANIFEST_TYPES = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");
const MAX_LIST_BYTES = 4 * 1024 * 1024;

/** What a status means that is neither success nor 404. */
export function failureOfStatus(status: number, retryAfterSeconds?: number): UpstreamError {
  const message = `it answered ${status}`;
  const retryAfterMs = retryAfterSeconds === undefined ? undefined : retryAfterSeconds * 1000;
  if (status === 401 || status === 403) return new UpstreamError("refused", message);
  if (status === 429 || (status === 503 && retryAfterMs !== undefined)) return new UpstreamError("busy", message, { retryAfterMs });
  return new UpstreamError("wrong", message);
}

/** Failures before an answer that the next request most likely meets as well. */
const UNREACHABLE: ReadonlySet<string> = new Set(["CONNECT", "UNRESOLVED", "TIMEOUT", "TLS", "REFUSED"]);

/** Connects. `elsewhere`: an origin to ask instead, while it gives one. */
export function connectRegistry(elsewhere: () => string | undefined): { readonly upstream: Upstream; close(): void } {
  // A registry of the test's own machine: its address is an explicit setting.
  const outbound = createOutbound({ purposes: ["upstream"], allow: ["127.0.0.1"], insecureHttp: true });
  const send = outbound.for("upstream");
  const tokens = new Map<string, string>();

  const mirrorOf = ({ traits }: UpstreamQuestion): Mirror => traits.find(mirrorTrait)!;
  const basicOf = ({ name, password }: Mirror): string => `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`;
  const nameOf = (question: UpstreamQuestion): string =>
    mirrorOf(question).prefix + question.repository.slice(projectOf(question.repository).length + 1);

  async function fetch(address: URL, request: OutboundRequest): Promise<OutboundAnswer> {
    try {
      return await send(address, request);
    } catch (cause) {
      if (!(cause instanceof OutboundError)) throw cause;
      throw new UpstreamError(UNREACHABLE.has(cause.code) ? "unreachable" : "wrong", cause.message, { cause });
    }
  }

  /** Source: distribution-spec, and the token specification of docker/distribution. */
  async function authorize(question: UpstreamQuestion, challenge: string): Promise<string | undefined> {
    const mirror = mirrorOf(question);
    if (/^basic/i.test(challenge)) return basicOf(mirror);
    const fields = new Map([...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name!, value!]));
    const realm = fields.get("realm");
    if (realm === undefined || !/^bearer/i.test(challenge)) return undefined;
    const address = new URL(realm);
    for (const name of ["service", "scope"]) if (fields.has(name)) address.searchParams.set(name, fields.get(name)!);
    const headers: Record<string, string> = mirror.name === undefined ? {} : { authorization: basicOf(mirror) };
    const answer = await fetch(address, { headers, signal: question.signal, maxAnswerBytes: 64 * 1024 });
    const text = await answer.text();
    if (answer.status !== 200) throw failureOfStatus(answer.status);
    const { token, access_token } = JSON.parse(text) as { token?: string; access_token?: string };
    return `Bearer ${token ?? access_token}`;
  }

  /** Asks, once more with a token where it wants one. Undefined: 404. Errors: `UpstreamError`. */
  async function ask(
    question: UpstreamQuestion,
    method: "GET" | "HEAD",
    path: string,
    more: { readonly accept?: string; readonly maxAnswerBytes?: number } = {},
  ): Promise<OutboundAnswer | undefined> {
    const key = `${question.projectId} ${question.traits.revision} ${question.repository}`;
    const address = new URL(`/v2/${nameOf(question)}/${path}`, elsewhere() ?? mirrorOf(question).origin);
    for (let tries = 1; ; tries++) {
      const authorization = tokens.get(key);
      const headers: Record<string, string> = {
        "accept-encoding": "identity",
        ...(more.accept === undefined ? {} : { accept: more.accept }),
        ...(authorization === undefined ? {} : { authorization }),
      };
      const { maxAnswerBytes = Infinity } = more;
      const answer = await fetch(address, { method, headers, signal: question.signal, maxAnswerBytes, maxRedirects: 5 });
      if (answer.status === 200) return answer;
      answer.discard();
      if (answer.status === 404) return undefined;
      const challenge = answer.headers["www-authenticate"];
      if (answer.status !== 401 || challenge === undefined || tries > 1) {
        const seconds = Number(answer.headers["retry-after"]);
        throw failureOfStatus(answer.status, Number.isFinite(seconds) ? seconds : undefined);
      }
      const given = await authorize(question, challenge);
      if (given === undefined) throw failureOfStatus(401);
      tokens.set(key, given);
    }
  }

  function sizeOf({ headers }: OutboundAnswer): number | undefined {
    const length = headers["content-length"];
    return length === undefined || headers["content-encoding"] !== undefined ? undefined : Number(length);
  }

  async function list<T>(question: UpstreamQuestion, path: string, itemsOf: (body: object) => readonly T[]) {
    const answer = await ask(question, "GET", path, { maxAnswerBytes: MAX_LIST_BYTES });
    if (answer === undefined) return undefined;
    const items = itemsOf(JSON.parse(await answer.text()) as object);
    const next = /<[^>?]*\?([^>]*)>\s*;\s*rel="?next"?/.exec(String(answer.headers["link"]))?.[1];
    return { items, next };
  }

  const queryOf = ({ after, place, limit }: UpstreamPlace, more = ""): string =>
    place ?? `n=${limit}${after === "" ? "" : `&last=${encodeURIComponent(after)}`}${more}`;
  const textOf = (reference: Reference): string => (reference.kind === "tag" ? reference.tag : reference.digest);

  const upstream: Upstream = {
    trait: mirrorTrait,
    tagTtlMs: () => 0,

    async checkTag(question, tag) {
      const answer = await ask(question, "HEAD", `manifests/${tag}`, { accept: MANIFEST_TYPES });
      const digest = answer?.headers["docker-content-digest"];
      answer?.discard();
      return answer && { digest: typeof digest === "string" && isDigest(digest) ? digest : undefined };
    },

    async fetchManifest(question, reference, maxBytes) {
      const answer = await ask(question, "GET", `manifests/${textOf(reference)}`, { accept: MANIFEST_TYPES, maxAnswerBytes: maxBytes });
      if (answer === undefined) return undefined;
      const mediaType = answer.headers["content-type"]?.split(";")[0]!.trim();
      return { bytes: await read(() => answer.bytes()), mediaType };
    },

    async checkBlob(question, digest) {
      const answer = await ask(question, "HEAD", `blobs/${digest}`);
      answer?.discard();
      return answer && { sizeBytes: sizeOf(answer) };
    },

    async openBlob(question, digest) {
      const answer = await ask(question, "GET", `blobs/${digest}`);
      return answer && { sizeBytes: sizeOf(answer), body: pieces(answer.body) };
    },

    listTags: (question, at) => list(question, `tags/list?${queryOf(at)}`, (body) => (body as { tags?: string[] | null }).tags ?? []),

    async listReferrers(question, subject, at) {
      const itemsOf = (body: object): readonly ReferrerDescriptor[] => (body as { manifests?: ReferrerDescriptor[] }).manifests ?? [];
      const filter = at.artifactType === undefined ? "" : `&artifactType=${encodeURIComponent(at.artifactType)}`;
      const found = await list(question, `referrers/${subject}?${queryOf(at, filter)}`, itemsOf);
      if (found !== undefined) return found;
      // One that does not know the question may have the tag. Source: distribution-spec, Referrers Tag Schema.
      const answer = await ask(question, "GET", `manifests/${tagOf(subject)}`, { accept: MANIFEST_TYPES, maxAnswerBytes: MAX_LIST_BYTES });
      return answer && { items: itemsOf(JSON.parse(await answer.text()) as object), next: undefined };
    },
  };
  return { upstream, close: () => outbound.close() };
}

function tagOf(subject: Digest): string {
  return `${algorithmOf(subject)}-${hexOf(subject).slice(0, 64)}`;
}

async function read<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw new UpstreamError("wrong", cause instanceof OutboundError ? cause.message : "its answer broke off", { cause });
  }
}

async function* pieces(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, void> {
  try {
    yield* body;
  } catch (cause) {
    throw new UpstreamError("wrong", cause instanceof OutboundError ? cause.message : "it broke off a blob", { cause });
  }
}
