// Lists of projects that have an upstream: what it lists is the list, since what it does not have is not given out by tag either. Where it gives none,
// what is stored is listed, with a warning. Not here: lists of all other projects (lists.ts), the catalog, which is of this registry alone.
import { isDigest, type Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import { isTag, type Tag } from "@berth/oci/reference";
import type { Grant } from "../access/caller.ts";
import { DESCRIPTOR_BYTES } from "../content/referrers.ts";
import type { ListPage, ReferrerDescriptor, ReferrersPage } from "./lists.ts";
import { UpstreamError, type UpstreamPage, type UpstreamPlace } from "./upstream.ts";
import type { UpstreamQuestions } from "./upstream-questions.ts";

/** Lists of upstreams. Undefined: the project has none. */
export interface UpstreamLists {
  /** `listStored`: the page of what is here. */
  tags(
    grant: Grant<"pull">,
    page: { readonly last: string; readonly limit: number },
    listStored: () => Promise<ListPage<Tag>>,
  ): Promise<ListPage<Tag>> | undefined;
  referrers(
    grant: Grant<"pull">,
    subject: Digest,
    page: ReferrersPage,
    listStored: () => Promise<ListPage<ReferrerDescriptor>>,
  ): Promise<ListPage<ReferrerDescriptor>> | undefined;
}

/** Begins places that are the upstream's own: no tag and no place of this registry does. */
const PLACE = "~";
/** Most bytes of a page, and most entries: who lists more at a time than it was asked for gives no usable answer. */
const MAX_PAGE_BYTES = 4 * 1024 * 1024;
const MAX_ITEMS = 100_000;
/** Texts of a descriptor, each. */
const MAX_TEXT_CHARACTERS = 255;

/** Makes the lists. */
export function createUpstreamLists(questions: UpstreamQuestions): UpstreamLists {
  /** The upstream's page; or what is stored, but not behind a place that is the upstream's. */
  async function pageOr<T>(
    last: string,
    ask: () => Promise<ListPage<T> | undefined>,
    listStored: () => Promise<ListPage<T>>,
  ): Promise<ListPage<T>> {
    let reason = "the upstream registry has no such list";
    let failure: RegistryError | undefined;
    try {
      const page = await ask();
      if (page !== undefined) return page;
      if (last.startsWith(PLACE)) throw new RegistryError("UPSTREAM_FAILED", { message: `${reason} any more`, isReported: true });
    } catch (error) {
      if (last.startsWith(PLACE) || !(error instanceof RegistryError)) throw error;
      failure = error;
      reason = error.message;
    }
    const stored = await listStored().catch((error: unknown) => {
      // Nothing is here: then it matters that the upstream said nothing.
      throw failure ?? error;
    });
    return { ...stored, warnings: [`only what is stored here is listed: ${reason}`] };
  }

  return {
    tags(grant, { last, limit }, listStored) {
      const subject = questions.subjectOf(grant);
      if (subject === undefined) return undefined;
      const at = placeOf(last, limit);
      const ask = (): Promise<ListPage<Tag> | undefined> =>
        questions.ask(subject, `tags ${limit} ${last}`, async (question) => {
          const page = await subject.upstream.listTags(question, at);
          return page && tagPage(page, at);
        });
      return pageOr(last, ask, listStored);
    },

    referrers(grant, digest, { artifactType, last, limit }, listStored) {
      const subject = questions.subjectOf(grant);
      if (subject === undefined) return undefined;
      // A place of what is stored: the page before came from there.
      if (last !== "" && !last.startsWith(PLACE)) return listStored();
      const at = { ...placeOf(last, limit), artifactType };
      const ask = (): Promise<ListPage<ReferrerDescriptor> | undefined> =>
        questions.ask(subject, `referrers ${digest} ${limit} ${artifactType ?? ""} ${last}`, async (question) => {
          const page = await subject.upstream.listReferrers(question, digest, at);
          return page && referrerPage(page, artifactType);
        });
      return pageOr(last, ask, listStored);
    },
  };
}

function placeOf(last: string, limit: number): UpstreamPlace {
  return last.startsWith(PLACE) ? { after: "", place: last.slice(PLACE.length), limit } : { after: last, place: undefined, limit };
}

/** Tags that could be pulled, in order. One that gives all of them for each page has them cut into pages here. */
function tagPage({ items, next }: UpstreamPage<string>, { after, limit }: UpstreamPlace): ListPage<Tag> {
  if (items.length > MAX_ITEMS) throw tooMany();
  const tags = items.filter((item): item is Tag => isTag(item) && item > after).toSorted(byBytes);
  if (tags.length > limit) return { items: tags.slice(0, limit), next: tags[limit - 1] };
  return { items: tags, next: next === undefined ? undefined : PLACE + next };
}

/** Source: distribution-spec, Listing Referrers: who does not filter gives all. */
function referrerPage({ items, next }: UpstreamPage<ReferrerDescriptor>, artifactType: string | undefined): ListPage<ReferrerDescriptor> {
  if (items.length > MAX_ITEMS) throw tooMany();
  const found = items
    .map(descriptorOf)
    .filter((item) => item !== undefined)
    .filter((item) => artifactType === undefined || item.artifactType === artifactType);
  const bytes = found.reduce((sum, { annotations }) => sum + DESCRIPTOR_BYTES + Buffer.byteLength(JSON.stringify(annotations ?? "")), 0);
  if (bytes > MAX_PAGE_BYTES) throw tooMany();
  return { items: found, next: next === undefined ? undefined : PLACE + next };
}

function tooMany(): UpstreamError {
  return new UpstreamError("wrong", "it lists more at a time than can be passed on");
}

/** What is passed on of a descriptor; undefined for what is none. */
function descriptorOf(item: Partial<Record<keyof ReferrerDescriptor, unknown>>): ReferrerDescriptor | undefined {
  const { mediaType, digest, size, artifactType, annotations } = item;
  if (!isText(mediaType) || !isText(digest) || !isDigest(digest)) return undefined;
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) return undefined;
  return {
    mediaType,
    digest,
    size,
    ...(isText(artifactType) ? { artifactType } : {}),
    ...(isAnnotations(annotations) ? { annotations } : {}),
  };
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "" && value.length <= MAX_TEXT_CHARACTERS;
}

function isAnnotations(value: unknown): value is Readonly<Record<string, string>> {
  return (
    typeof value === "object" && value !== null && !Array.isArray(value) && Object.values(value).every((text) => typeof text === "string")
  );
}

function byBytes(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0;
}
