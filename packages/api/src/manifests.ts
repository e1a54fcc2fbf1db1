// Operations on tags and manifests: listing, reading and deleting the content of a repository.
// Not here: their rules (the server's features/manifests), pulling and pushing (the distribution API).
import Type, { type Static } from "typebox";
import { closed, countedPage, Nothing, page, PageQuery, ProjectNameField, RepositoryPathField, TimeField } from "./fields.ts";
import { operation } from "./operation.ts";

const TAG = "[A-Za-z0-9_][A-Za-z0-9._-]{0,127}";
const DIGEST = "sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}";

export const TagField = Type.String({ pattern: `^${TAG}$`, maxLength: 128, description: "A tag." });
export const DigestField = Type.String({ pattern: `^(?:${DIGEST})$`, maxLength: 135, description: "A manifest's digest." });
const ReferenceField = Type.String({ pattern: `^(?:${TAG}|${DIGEST})$`, maxLength: 135, description: "A tag or a digest." });

const TextOrNull = Type.Union([Type.String(), Type.Null()]);
const SizeField = Type.Integer({ minimum: 0 });
const ByField = Type.Union([Type.String(), Type.Null()], {
  description: "The account's login name; null where nobody was known, or the account is gone.",
});

const PulledAtField = Type.Union([TimeField, Type.Null()], {
  description:
    "When the manifest was last fetched, by whichever name, until half a minute ago; null where it was not since this is counted.",
});
const ArtifactTypeQuery = Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: "Only those of this artifact type." }));
const MediaTypeQuery = Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: "Only those of this media type." }));

export const Platform = closed(
  { os: Type.String(), architecture: Type.String(), variant: TextOrNull, osVersion: TextOrNull },
  { description: "What an image runs on." },
);

export const TagInfo = closed(
  {
    name: Type.String(),
    digest: Type.String(),
    mediaType: Type.String(),
    artifactType: Type.Union([Type.String(), Type.Null()], {
      description: "What it is: the manifest's artifactType, else its config's media type; null for an index that says nothing.",
    }),
    sizeBytes: Type.Union([SizeField, Type.Null()], {
      description:
        "Of the manifest and what it names itself, each once; null for some minutes after an upgrade, of tags whose size is not counted yet.",
    }),
    platforms: Type.Array(Platform, { description: "Those that an index names; none for a single image, whose config says it." }),
    pushedAt: Type.Unsafe<string>({ ...TimeField, description: "When the tag was last set to another manifest." }),
    pushedBy: ByField,
    pulledAt: PulledAtField,
  },
  { description: "A tag and what it names." },
);
/** A tag, for callers who may pull. */
export type TagView = Static<typeof TagInfo>;

export const TagChangeInfo = closed(
  {
    id: Type.String(),
    digest: Type.Union([Type.String(), Type.Null()], { description: "What the tag named from then on; null: it was deleted." }),
    at: TimeField,
    by: ByField,
  },
  { description: "One change of a tag." },
);
/** A change of a tag, for callers who may pull. */
export type TagChangeView = Static<typeof TagChangeInfo>;

export const ManifestSummary = closed(
  {
    digest: Type.String(),
    mediaType: Type.String(),
    artifactType: TextOrNull,
    sizeBytes: Type.Integer({ minimum: 0, description: "Of the manifest alone." }),
    pushedAt: TimeField,
    pulledAt: PulledAtField,
    subject: Type.Union([Type.String(), Type.Null()], { description: "The digest of the manifest that it is about." }),
    tags: Type.Array(Type.String(), { description: "The first ten that name it." }),
  },
  { description: "A manifest in a list." },
);
/** A manifest in a list, for callers who may pull. */
export type ManifestSummaryView = Static<typeof ManifestSummary>;

export const ContentDescriptor = closed(
  { digest: Type.String(), mediaType: Type.String(), sizeBytes: SizeField },
  { description: "Content that a manifest names." },
);

export const ManifestDetail = closed(
  {
    digest: Type.String(),
    mediaType: Type.String(),
    artifactType: TextOrNull,
    sizeBytes: Type.Integer({ minimum: 0, description: "Of the manifest alone." }),
    contentSizeBytes: Type.Integer({ minimum: 0, description: "Of the manifest and what it names itself, each once." }),
    uniqueSizeBytes: Type.Union([SizeField, Type.Null()], {
      description:
        "Of the manifest, and of those blobs of its own that no other manifest of the repository names: what the repository shrinks by when it is deleted. Null where it names more than 1000.",
    }),
    pushedAt: TimeField,
    pulledAt: PulledAtField,
    subject: Type.Union([ContentDescriptor, Type.Null()], { description: "The manifest that it is about." }),
    annotations: Type.Array(closed({ name: Type.String(), value: Type.String() })),
    platform: Type.Union([Platform, Type.Null()], { description: "As the config of a single image says it." }),
    config: Type.Union([ContentDescriptor, Type.Null()]),
    layers: Type.Array(ContentDescriptor, { description: "In the manifest's order." }),
    children: Type.Array(
      closed({
        digest: Type.String(),
        mediaType: Type.String(),
        sizeBytes: SizeField,
        platform: Type.Union([Platform, Type.Null()]),
        isPresent: Type.Boolean({ description: "Whether the repository has it." }),
      }),
      { description: "What an index names." },
    ),
    leftOut: Type.Integer({
      minimum: 0,
      description: "Layers, children and annotations beyond the first 1000 of each, which are not shown.",
    }),
    tags: Type.Array(Type.String(), { description: "The first 100 that name it." }),
    referrers: Type.Array(closed({ digest: Type.String(), mediaType: Type.String(), artifactType: TextOrNull, sizeBytes: SizeField }), {
      description: "The first 100 manifests that are about it: signatures, SBOMs.",
    }),
  },
  { description: "A manifest." },
);
/** A manifest, for callers who may pull. */
export type ManifestView = Static<typeof ManifestDetail>;

const repositoryParams = { project: ProjectNameField, repository: RepositoryPathField };
const OfRepository = closed(repositoryParams);
const OfTag = closed({ ...repositoryParams, tag: TagField });
const OfReference = closed({ ...repositoryParams, reference: ReferenceField });
const OfDigest = closed({ ...repositoryParams, reference: DigestField });

const BASE = "/projects/{project}/repositories/{repository}";

export const listTags = operation({
  id: "listTags",
  tag: "manifests",
  method: "GET",
  path: `${BASE}/tags`,
  summary: "List a repository's tags: by name, or by version, push or size, and in which order",
  permission: { kind: "repository", may: "pull" },
  params: OfRepository,
  query: closed({
    ...PageQuery.properties,
    prefix: Type.Optional(Type.String({ pattern: "^[A-Za-z0-9._-]{1,128}$", maxLength: 128, description: "Only tags that begin so." })),
    artifactType: ArtifactTypeQuery,
    mediaType: MediaTypeQuery,
    sort: Type.Optional(
      Type.Enum(["name", "version", "pushed", "size"], {
        description:
          "By name, which is the order where none is given; by semantic version, before the lowest of which all other tags lie; by when the tag was last set; or by size.",
      }),
    ),
    order: Type.Optional(
      Type.Enum(["ascending", "descending"], {
        description: "Names ascend and everything else descends, from the highest, newest and largest, where it is not given.",
      }),
    ),
  }),
  body: undefined,
  status: 200,
  answer: countedPage(TagInfo),
  errors: ["PAGE_INVALID", "PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN"],
});

export const listTagHistory = operation({
  id: "listTagHistory",
  tag: "manifests",
  method: "GET",
  path: `${BASE}/tags/{tag}/history`,
  summary: "List what a tag named, the newest first; of tags that are deleted too",
  permission: { kind: "repository", may: "pull" },
  params: OfTag,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(TagChangeInfo),
  errors: ["PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN", "PAGE_INVALID"],
});

export const deleteTag = operation({
  id: "deleteTag",
  tag: "manifests",
  method: "DELETE",
  path: `${BASE}/tags/{tag}`,
  summary: "Delete a tag; what it names stays",
  permission: { kind: "repository", may: "delete" },
  params: OfTag,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN", "MANIFEST_UNKNOWN"],
});

export const listManifests = operation({
  id: "listManifests",
  tag: "manifests",
  method: "GET",
  path: `${BASE}/manifests`,
  summary: "List a repository's manifests, by digest: all, or those with or without a tag",
  permission: { kind: "repository", may: "pull" },
  params: OfRepository,
  query: closed({
    ...PageQuery.properties,
    isTagged: Type.Optional(Type.Boolean({ description: "Only those with a tag, or only those without one." })),
    artifactType: ArtifactTypeQuery,
    mediaType: MediaTypeQuery,
  }),
  body: undefined,
  status: 200,
  answer: countedPage(ManifestSummary),
  errors: ["PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN"],
});

export const getManifest = operation({
  id: "getManifest",
  tag: "manifests",
  method: "GET",
  path: `${BASE}/manifests/{reference}`,
  summary: "Read what a manifest is made of, and what is attached to it",
  permission: { kind: "repository", may: "pull" },
  params: OfReference,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: ManifestDetail,
  errors: ["PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN", "MANIFEST_UNKNOWN"],
});

export const ManifestContent = closed(
  {
    digest: Type.String(),
    mediaType: Type.String(),
    content: Type.String({ description: "Its bytes as text, all of them: they have the digest." }),
  },
  { description: "A manifest as it was pushed." },
);
/** A manifest's bytes, for callers who may pull. */
export type ManifestContentView = Static<typeof ManifestContent>;

export const getManifestContent = operation({
  id: "getManifestContent",
  tag: "manifests",
  method: "GET",
  path: `${BASE}/manifests/{reference}/content`,
  summary: "Read a manifest as it was pushed, to the byte",
  permission: { kind: "repository", may: "pull" },
  params: OfReference,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: ManifestContent,
  errors: ["PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN", "MANIFEST_UNKNOWN"],
});

export const deleteManifest = operation({
  id: "deleteManifest",
  tag: "manifests",
  method: "DELETE",
  path: `${BASE}/manifests/{reference}`,
  summary: "Delete a manifest with its tags; its space is freed in the background",
  permission: { kind: "repository", may: "delete" },
  params: OfDigest,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN", "MANIFEST_UNKNOWN"],
});
