// Operations that untag or delete many at once: first a plan, which says what goes and what stays, then a run of it.
// Not here: their rules (the server's features/deletions), taking away one (manifests.ts).
import Type, { type Static } from "typebox";
import { closed, Nothing, page, PageQuery, ProjectNameField, RepositoryPathField, TimeField } from "./fields.ts";
import { DigestField, TagField } from "./manifests.ts";
import { LOCATION, operation } from "./operation.ts";

/** Most tags or manifests that a plan names one by one. */
const MAX_NAMED = 1000;

const PlanIdField = Type.String({ pattern: "^[1-9][0-9]{0,14}$", maxLength: 15, description: "A plan's number." });

const DeletionAction = Type.Enum(["untag", "delete"], {
  description: "untag: tags go, and what they name stays; delete: manifests go, with the tags that were chosen.",
});

export const DeletionPlan = closed(
  {
    id: PlanIdField,
    repository: Type.String({ description: "The whole name: PROJECT/REPOSITORY." }),
    action: DeletionAction,
    state: Type.Enum(["planned", "running", "done", "failed", "cancelled"], {
      description: "planned: nothing is done yet. A failed one says why; what it did until then is done.",
    }),
    error: Type.Union([Type.String(), Type.Null()]),
    createdAt: TimeField,
    createdBy: Type.Union([Type.String(), Type.Null()], { description: "The account's login name; null where the account is gone." }),
    expiresAt: Type.Unsafe<string>({
      ...TimeField,
      description: "When the plan is forgotten: a day after it was made, a week after it was run.",
    }),
    tags: Type.Integer({ minimum: 0, description: "Tags that go." }),
    manifests: Type.Integer({ minimum: 0, description: "Manifests that go." }),
    stays: Type.Integer({ minimum: 0, description: "Manifests that were chosen and stay, each for a reason that its item says." }),
    freedBytes: Type.Integer({
      minimum: 0,
      description: "What the repository shrinks by at the least: blobs that very many manifests share are not looked at to the end.",
    }),
    next: Type.Union([Type.String(), Type.Null()], {
      description: "`after` of a plan of the rest, where not everything was looked at; null where this plan is of all that was chosen.",
    }),
    deleted: Type.Integer({ minimum: 0, description: "Tags and manifests that the run has taken away." }),
    kept: Type.Integer({ minimum: 0, description: "Those that it left, since they had changed or a rule keeps them." }),
  },
  { description: "What would be taken away together, and how far that is." },
);
/** A plan as those see it who may delete in its repository. */
export type DeletionPlanView = Static<typeof DeletionPlan>;

export const DeletionItem = closed(
  {
    kind: Type.Enum(["tag", "manifest"]),
    tag: Type.Union([Type.String(), Type.Null()]),
    digest: Type.String({ description: "The manifest, or what the tag named when the plan was made." }),
    stays: Type.Union(
      [
        closed({
          because: Type.Enum(["tagged", "in-index", "attached", "too-many"], {
            description:
              "tagged: a tag that was not chosen names it; in-index: an index that stays names it; attached: it is about a manifest that stays; too-many: more name it than are looked at.",
          }),
          of: Type.String({ description: "The tag, or the digest." }),
        }),
        Type.Null(),
      ],
      { description: "Why it stays; null: it goes." },
    ),
    outcome: Type.Union([Type.Enum(["deleted", "changed", "refused"]), Type.Null()], {
      description: "deleted; changed: it is not what was planned any more, and was left; refused: a rule keeps it; null: not tried yet.",
    }),
  },
  { description: "A tag or a manifest of a plan." },
);
/** An item of a plan. */
export type DeletionItemView = Static<typeof DeletionItem>;

const ofRepository = { project: ProjectNameField, repository: RepositoryPathField };
const OfRepository = closed(ofRepository);
const OfPlan = closed({ ...ofRepository, plan: PlanIdField });
const BASE = "/projects/{project}/repositories/{repository}/deletions";
const MAY = { kind: "repository", may: "delete" } as const;
const UNKNOWN = ["DENIED", "PROJECT_UNKNOWN", "REPOSITORY_UNKNOWN"] as const;

export const createDeletionPlan = operation({
  id: "createDeletionPlan",
  tag: "manifests",
  method: "POST",
  path: BASE,
  summary: "Plan to untag or delete many: says what goes and what stays, and changes nothing",
  permission: MAY,
  params: OfRepository,
  query: Nothing,
  body: closed(
    {
      action: DeletionAction,
      tags: Type.Optional(Type.Array(TagField, { maxItems: MAX_NAMED, description: "These tags, or what they name." })),
      digests: Type.Optional(Type.Array(DigestField, { maxItems: MAX_NAMED, description: "These manifests. Only to delete." })),
      prefix: Type.Optional(
        Type.String({ pattern: "^[A-Za-z0-9._-]{1,128}$", maxLength: 128, description: "Tags that begin so, or what they name." }),
      ),
      untagged: Type.Optional(Type.Boolean({ description: "Manifests without a tag. Only to delete." })),
      pushedBefore: Type.Optional(
        Type.Unsafe<string>({
          ...TimeField,
          description: "Of these only what was pushed before then: tags set, or manifests, where they were chosen.",
        }),
      ),
      artifactType: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: "Of these only what is of this type." })),
      after: Type.Optional(Type.String({ maxLength: 135, description: "Only what lies behind it: the `next` of the plan before." })),
    },
    { description: "One of `tags`, `digests`, `prefix` and `untagged` chooses; the others narrow." },
  ),
  status: 201,
  answer: DeletionPlan,
  headers: LOCATION,
  errors: UNKNOWN,
});

export const getDeletionPlan = operation({
  id: "getDeletionPlan",
  tag: "manifests",
  method: "GET",
  path: `${BASE}/{plan}`,
  summary: "Read a plan, and how far its run is",
  permission: MAY,
  params: OfPlan,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: DeletionPlan,
  errors: [...UNKNOWN, "PLAN_UNKNOWN"],
});

export const listDeletionItems = operation({
  id: "listDeletionItems",
  tag: "manifests",
  method: "GET",
  path: `${BASE}/{plan}/items`,
  summary: "List the tags and manifests of a plan",
  permission: MAY,
  params: OfPlan,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(DeletionItem),
  errors: [...UNKNOWN, "PLAN_UNKNOWN", "PAGE_INVALID"],
});

export const runDeletionPlan = operation({
  id: "runDeletionPlan",
  tag: "manifests",
  method: "POST",
  path: `${BASE}/{plan}/run`,
  summary: "Do what a plan says, in the background; refused where it does not hold any more",
  permission: MAY,
  params: OfPlan,
  query: Nothing,
  body: undefined,
  status: 202,
  answer: DeletionPlan,
  errors: [...UNKNOWN, "PLAN_UNKNOWN", "PLAN_CHANGED", "PLAN_ENDED"],
});

export const cancelDeletionPlan = operation({
  id: "cancelDeletionPlan",
  tag: "manifests",
  method: "POST",
  path: `${BASE}/{plan}/cancel`,
  summary: "Stop the run of a plan, or drop a plan; what is deleted stays deleted",
  permission: MAY,
  params: OfPlan,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: DeletionPlan,
  errors: [...UNKNOWN, "PLAN_UNKNOWN", "PLAN_ENDED"],
});
