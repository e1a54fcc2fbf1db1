// Operations on uploads that are on their way in: what administrators see of them, and how they end one.
// Not here: their rules (the server's features/uploads), uploading (the distribution API).
import Type, { type Static } from "typebox";
import { closed, Nothing, page, PageQuery, TimeField } from "./fields.ts";
import { operation } from "./operation.ts";

const UploadIdField = Type.String({ pattern: "^[0-9a-f-]{36}$", maxLength: 36, description: "An upload's id, as its address has it." });

export const Upload = closed(
  {
    id: Type.String(),
    repository: Type.String({ description: "The whole name, as one pushes to it." }),
    startedBy: Type.Union([Type.String(), Type.Null()], { description: "The account's login name; null where the account is gone." }),
    receivedBytes: Type.Integer({ minimum: 0, description: "So many are kept. More may have come since, of a request that still runs." }),
    isActive: Type.Boolean({ description: "Whether a request writes to it now." }),
    startedAt: TimeField,
    expiresAt: Type.Unsafe<string>({ ...TimeField, description: "When it is removed where nothing comes until then." }),
  },
  { description: "An upload of a blob that has not ended." },
);
/** An upload as administrators see it. */
export type UploadView = Static<typeof Upload>;

export const listUploads = operation({
  id: "listUploads",
  tag: "registry",
  method: "GET",
  path: "/uploads",
  summary: "List the uploads that have not ended, those first that expire first",
  permission: { kind: "system", may: "uploads.read" },
  params: Nothing,
  query: PageQuery,
  body: undefined,
  status: 200,
  answer: page(Upload),
  errors: ["DENIED", "PAGE_INVALID"],
});

export const cancelUpload = operation({
  id: "cancelUpload",
  tag: "registry",
  method: "DELETE",
  path: "/uploads/{upload}",
  summary: "End an upload, with the bytes that have come; its client is told that it does not exist",
  permission: { kind: "administrator" },
  params: closed({ upload: UploadIdField }),
  query: Nothing,
  body: undefined,
  status: 204,
  answer: undefined,
  errors: ["DENIED", "UPLOAD_UNKNOWN", "CONFLICT"],
});
