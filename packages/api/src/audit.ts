// Operations on the audit log: reading, exporting and proving it. Not here: their rules (the server's features/audit), what is put on record.
import Type, { type Static } from "typebox";
import { closed, CountField, Nothing, page, PageQuery, ProjectNameField, TimeField } from "./fields.ts";
import { operation } from "./operation.ts";

const TextOrNull = Type.Union([Type.String(), Type.Null()]);
const RecordIdField = Type.String({ pattern: "^[1-9][0-9]{0,14}$", maxLength: 15, description: "A record's number." });
const StateField = Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()]);
const HashField = Type.String({ description: "SHA-256, in hexadecimal." });
/** No filter is longer than what it is compared with. */
const FilterText = Type.String({ minLength: 1, maxLength: 255 });

export const AuditRecordSchema = closed(
  {
    id: RecordIdField,
    at: TimeField,
    action: Type.String({ description: "What happened, as subject.verb: tag.moved, member.changed, setting.changed." }),
    outcome: Type.Enum(["done", "refused", "failed"], {
      description: "done; refused: the registry's rules forbade it; failed: it was tried in vain, as a wrong password is.",
    }),
    actor: closed({
      kind: Type.Enum(["user", "robot", "anonymous", "system"]),
      id: Type.Union([Type.Integer(), Type.Null()]),
      name: Type.String({ description: "The login name at that time; empty for anonymous." }),
      via: Type.Union([Type.String(), Type.Null()], { description: "How it signed in: password, personal-token 12." }),
    }),
    address: TextOrNull,
    requestId: TextOrNull,
    project: TextOrNull,
    projectId: Type.Union([Type.Integer(), Type.Null()], { description: "One of the same name that came later has another." }),
    repository: TextOrNull,
    reference: Type.Union([Type.String(), Type.Null()], { description: "A tag, or what else was named." }),
    digest: TextOrNull,
    account: Type.Union([Type.String(), Type.Null()], { description: "The account to which it was done." }),
    times: Type.Integer({ minimum: 1, description: "How often, where many alike are one record." }),
    before: StateField,
    after: StateField,
  },
  { description: "Something that happened." },
);
/** Something that happened. */
export type AuditRecordView = Static<typeof AuditRecordSchema>;

const filters = {
  action: Type.Optional(
    Type.String({
      pattern: "^[a-z][a-z-]*(?:\\.(?:[a-z][a-z-]*|\\*))$",
      maxLength: 64,
      description: "Only this action, or with tag.* all of a subject.",
    }),
  ),
  outcome: Type.Optional(Type.Enum(["done", "refused", "failed"])),
  actor: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: "Only what this account did, by its login name." })),
  account: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: "Only what was done to this account." })),
  repository: Type.Optional(FilterText),
  digest: Type.Optional(FilterText),
  address: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
  requestId: Type.Optional(FilterText),
  from: Type.Optional(TimeField),
  to: Type.Optional(Type.String({ ...TimeField, description: "Only what happened before." })),
};
const project = Type.Optional(ProjectNameField);
const order = Type.Optional(Type.Enum(["newest", "oldest"], { description: "newest where it is not given." }));

export const listAudit = operation({
  id: "listAudit",
  tag: "audit",
  method: "GET",
  path: "/audit",
  summary: "List what happened in the registry, the newest first",
  permission: { kind: "system", may: "audit.read" },
  params: Nothing,
  query: closed({ ...PageQuery.properties, ...filters, project, order }),
  body: undefined,
  status: 200,
  answer: page(AuditRecordSchema),
  errors: ["DENIED", "PAGE_INVALID"],
});

export const listProjectAudit = operation({
  id: "listProjectAudit",
  tag: "audit",
  method: "GET",
  path: "/projects/{project}/audit",
  summary: "List what happened in a project, the newest first",
  permission: { kind: "project", may: "audit.read" },
  params: closed({ project: ProjectNameField }),
  query: closed({ ...PageQuery.properties, ...filters, order }),
  body: undefined,
  status: 200,
  answer: page(AuditRecordSchema),
  errors: ["DENIED", "PROJECT_UNKNOWN", "PAGE_INVALID"],
});

export const exportAudit = operation({
  id: "exportAudit",
  tag: "audit",
  method: "GET",
  path: "/audit/records",
  summary: "Export what happened in the registry, the oldest first",
  permission: { kind: "system", may: "audit.read" },
  params: Nothing,
  query: closed({
    after: Type.Optional(Type.String({ ...RecordIdField, description: "Only what was put on record after this one." })),
    ...filters,
    project,
  }),
  body: undefined,
  status: 200,
  answer: AuditRecordSchema,
  stream: "records",
  errors: ["DENIED"],
});

export const AuditSegment = closed(
  {
    number: Type.Integer(),
    firstId: Type.Integer(),
    lastId: Type.Integer({ description: "One less than the first while there is no record." }),
    previous: HashField,
    hash: HashField,
    openedAt: TimeField,
    sealedAt: Type.Union([TimeField, Type.Null()], { description: "Null while records are put in it." }),
    signedAt: TimeField,
    keyId: Type.String(),
    publicKey: TextOrNull,
    signature: Type.String({ description: "Ed25519, as base64url." }),
    droppedAt: Type.Union([TimeField, Type.Null()], { description: "When its records were deleted." }),
  },
  { description: "A run of records with the checkpoint that proves it. Keep it elsewhere." },
);
/** A run of records with what proves it. */
export type AuditSegmentView = Static<typeof AuditSegment>;

export const listAuditSegments = operation({
  id: "listAuditSegments",
  tag: "audit",
  method: "GET",
  path: "/audit/segments",
  summary: "List the segments of the audit log with their checkpoints, the oldest first",
  permission: { kind: "system", may: "audit.read" },
  params: Nothing,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(AuditSegment),
  errors: ["DENIED", "PAGE_INVALID"],
});

export const AuditVerification = closed(
  {
    segments: CountField,
    records: CountField,
    lastRecord: CountField,
    isDone: Type.Boolean({ description: "True in the last one, which has what is wrong." }),
    problems: Type.Array(
      closed({
        code: Type.String(),
        segment: Type.Union([Type.Integer(), Type.Null()]),
        record: Type.Union([Type.Integer(), Type.Null()]),
        message: Type.String(),
      }),
    ),
    removed: Type.Union([closed({ segments: CountField, records: CountField, throughRecord: CountField }), Type.Null()], {
      description: "What was deleted because it was old enough, which is itself on record; null for nothing.",
    }),
  },
  { description: "How far a verification is, and what it found." },
);
/** How far a verification is. */
export type AuditVerificationView = Static<typeof AuditVerification>;

export const verifyAudit = operation({
  id: "verifyAudit",
  tag: "audit",
  method: "GET",
  path: "/audit/verification",
  summary: "Prove that nobody changed the audit log, or name what was changed: reads all of it, and says how far it is",
  permission: { kind: "system", may: "audit.read" },
  params: Nothing,
  query: Nothing,
  body: undefined,
  status: 200,
  answer: AuditVerification,
  stream: "records",
  errors: ["DENIED"],
});
