// Operations on the repositories of a project, and on what the registry stores. Content itself is pushed and pulled at `/v2/`.
// Not here: their rules (the server's features/repositories).
import Type, { type Static } from "typebox";
import { closed, CountField, Nothing, page, PageQuery, ProjectNameField, RepositoryPathField, TimeField } from "./fields.ts";
import { operation } from "./operation.ts";

export const RepositoryUsage = closed(
  {
    manifests: CountField,
    tags: CountField,
    blobs: CountField,
    sizeBytes: Type.Integer({ minimum: 0, description: "Of these blobs and manifests; what other repositories share is counted in each." }),
  },
  { description: "What a repository holds: always what counting it would give." },
);

export const Repository = closed(
  {
    name: Type.String({ description: "The whole name, as one pulls it: PROJECT/REPOSITORY." }),
    usage: RepositoryUsage,
    createdAt: TimeField,
    updatedAt: Type.Unsafe<string>({
      ...TimeField,
      description: "When a manifest or a tag was last pushed that was not there yet; when the repository was made where none was.",
    }),
    pulls: Type.Integer({
      minimum: 0,
      description: "How often a manifest was fetched, until half a minute ago; who pulls an image for several platforms fetches two.",
    }),
    pulledAt: Type.Union([TimeField, Type.Null()], {
      description: "When a manifest was last fetched; null where none was since this is counted.",
    }),
  },
  { description: "A repository: manifests with tags, and the blobs that they name." },
);
/** A repository, for callers who may pull from it. */
export type RepositoryView = Static<typeof Repository>;

export const RegistryUsage = closed(
  {
    blobs: CountField,
    sizeBytes: Type.Integer({ minimum: 0, description: "Of all blobs, each once." }),
  },
  { description: "What the registry stores." },
);
/** The usage of the registry. */
export type RegistryUsageView = Static<typeof RegistryUsage>;

const OfProject = closed({ project: ProjectNameField });
const OfRepository = closed({ project: ProjectNameField, repository: RepositoryPathField });

export const listRepositories = operation({
  id: "listRepositories",
  tag: "repositories",
  method: "GET",
  path: "/projects/{project}/repositories",
  summary: "List the repositories of a project that the caller may pull from, by name",
  permission: { kind: "project", may: "project.read" },
  params: OfProject,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Repository),
  errors: ["PAGE_INVALID", "PROJECT_UNKNOWN"],
});

export const exportRepositories = operation({
  id: "exportRepositories",
  tag: "repositories",
  method: "GET",
  path: "/projects/{project}/usage",
  summary: "Export what each repository of a project holds, of those that the caller may pull from, by name",
  permission: { kind: "project", may: "project.read" },
  params: OfProject,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: Repository,
  stream: "records",
  errors: ["PROJECT_UNKNOWN"],
});

export const getRepository = operation({
  id: "getRepository",
  tag: "repositories",
  method: "GET",
  path: "/projects/{project}/repositories/{repository}",
  summary: "Read a repository",
  permission: { kind: "repository", may: "pull" },
  params: OfRepository,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: Repository,
  errors: ["PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN"],
});

export const deleteRepository = operation({
  id: "deleteRepository",
  tag: "repositories",
  method: "DELETE",
  path: "/projects/{project}/repositories/{repository}",
  summary: "Delete a repository with everything in it, at once; its space is freed in the background",
  permission: { kind: "repository", may: "delete" },
  params: OfRepository,
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN"],
});

export const getUsage = operation({
  id: "getUsage",
  tag: "registry",
  method: "GET",
  path: "/usage",
  summary: "Read what the registry stores",
  permission: { kind: "system", may: "usage.read" },
  params: Nothing,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: RegistryUsage,
  errors: ["DENIED"],
});
