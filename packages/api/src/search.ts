// The operation that searches projects, repositories, tags and digests by name. Not here: its rule (the server's features/search).
import Type, { type Static } from "typebox";
import { closed, Nothing, page, PageQuery, TimeField } from "./fields.ts";
import { operation } from "./operation.ts";

/** What is found, in the order in which it is. */
export const SEARCH_KINDS = ["project", "repository", "tag", "digest"] as const;
/** One of `SEARCH_KINDS`. */
export type SearchKind = (typeof SEARCH_KINDS)[number];

const OrNull = Type.Union([Type.String(), Type.Null()]);

export const Found = closed(
  {
    kind: Type.Enum([...SEARCH_KINDS]),
    project: Type.String(),
    repository: Type.Union([Type.String(), Type.Null()], { description: "The whole name; null for a project." }),
    tag: OrNull,
    digest: Type.Union([Type.String(), Type.Null()], { description: "Of the manifest; null for a project and a repository." }),
    pushedAt: Type.Union([TimeField, Type.Null()], { description: "When the tag was moved last, or the manifest pushed." }),
  },
  { description: "Something that was found. One that is gone since has no row." },
);
/** Something that was found. */
export type FoundView = Static<typeof Found>;

export const search = operation({
  id: "search",
  tag: "repositories",
  method: "GET",
  path: "/search",
  summary:
    "Search what the caller may see: projects and repositories whose names hold the text, tags and digests of manifests that begin with it",
  permission: { kind: "anyone" },
  params: Nothing,
  query: closed({
    ...PageQuery.properties,
    text: Type.String({
      pattern: "^[A-Za-z0-9._:/-]+$",
      minLength: 1,
      maxLength: 255,
      description:
        "What names hold (projects, repositories, in lower case) or begin with (tags, in their case). A digest with its algorithm or without, six digits at least.",
    }),
    kind: Type.Optional(Type.Enum([...SEARCH_KINDS], { description: "All where it is not given." })),
  }),
  body: undefined,
  status: 200,
  answer: page(Found),
  errors: ["PAGE_INVALID"],
});
