// The control plane's own error codes, each with its status and message. Not here: the codes that both planes share (@berth/oci/errors).
import { RegistryError, type ErrorRow, type RegistryErrorOptions } from "@berth/oci/errors";

/** Every code that only the control plane has. Shared ones (UNAUTHORIZED, DENIED, TOOMANYREQUESTS, UNAVAILABLE, …) are the data plane's. */
export const API_ERROR_ROWS = {
  FIELD_INVALID: { status: 400, message: "a field of the request is not valid", spec: "Berth" },
  BODY_INVALID: { status: 400, message: "the request body is not valid JSON", spec: "Berth" },
  BODY_TOO_LARGE: { status: 413, message: "the request body is larger than the limit", spec: "Berth" },
  MEDIA_TYPE_UNSUPPORTED: { status: 415, message: "the request body is not application/json", spec: "Berth" },
  NOT_ACCEPTABLE: { status: 406, message: "the answer cannot be given in a media type that the request accepts", spec: "Berth" },
  PRECONDITION_UNSUPPORTED: { status: 400, message: "this operation takes no If-Match: nothing was changed", spec: "Berth" },
  OPERATION_UNKNOWN: { status: 404, message: "the API has no such operation", spec: "Berth" },
  PROJECT_UNKNOWN: { status: 404, message: "project not known to registry", spec: "Berth" },
  PROJECT_EXISTS: { status: 409, message: "a project of that name exists", spec: "Berth" },
  PROJECTS_EXCEEDED: { status: 409, message: "the user owns as many projects as one may", spec: "Berth" },
  PROJECT_NOT_EMPTY: { status: 409, message: "the project still has repositories; delete them first", spec: "Berth" },
  REPOSITORY_UNKNOWN: { status: 404, message: "repository not known to registry", spec: "Berth" },
  MEMBER_UNKNOWN: { status: 404, message: "the account is not a member of the project", spec: "Berth" },
  LAST_OWNER: { status: 409, message: "the project would have no owner; make another member owner first", spec: "Berth" },
  NETWORKS_EXCLUDE_CALLER: {
    status: 409,
    message: "the project could not be used any more from where this request comes from",
    spec: "Berth",
  },
  UPLOAD_UNKNOWN: { status: 404, message: "upload not known to registry: it has ended, or never was", spec: "Berth" },
  USER_UNKNOWN: { status: 404, message: "user not known to registry", spec: "Berth" },
  USER_EXISTS: { status: 409, message: "a user of that name exists", spec: "Berth" },
  LAST_ADMINISTRATOR: {
    status: 409,
    message: "the registry would have no administrator; make another user administrator first",
    spec: "Berth",
  },
  TOKEN_UNKNOWN: { status: 404, message: "token not known to registry: it was revoked, or never was", spec: "Berth" },
  TOKENS_TOO_MANY: { status: 409, message: "the user has as many tokens as one may have; revoke some first", spec: "Berth" },
  PASSWORD_WRONG: { status: 403, message: "the current password is wrong", spec: "Berth" },
  DIRECTORY_UNKNOWN: { status: 404, message: "the settings have no directory of that name", spec: "Berth" },
  GROUP_UNKNOWN: { status: 404, message: "group not known to registry", spec: "Berth" },
  GROUP_EXISTS: { status: 409, message: "a group of that name, or of that source, exists", spec: "Berth" },
  ROBOT_UNKNOWN: { status: 404, message: "robot not known to registry", spec: "Berth" },
  ROBOT_EXISTS: { status: 409, message: "a robot of that name exists", spec: "Berth" },
  SESSION_UNKNOWN: { status: 404, message: "the user has no such session: it has ended, or never was", spec: "Berth" },
  ISSUER_UNKNOWN: { status: 404, message: "issuer not known to registry", spec: "Berth" },
  ISSUER_EXISTS: { status: 409, message: "an issuer of that name exists", spec: "Berth" },
  ISSUER_IN_USE: { status: 409, message: "trust rules of robots name the issuer; delete them first, or disable the issuer", spec: "Berth" },
  TRUST_RULE_UNKNOWN: { status: 404, message: "the robot has no trust rule of that name", spec: "Berth" },
  TRUST_RULE_TOO_WIDE: { status: 400, message: "the trust rule names no one project or service account", spec: "Berth" },
  TRUST_RULES_TOO_MANY: { status: 409, message: "the robot has as many trust rules as one may have", spec: "Berth" },
  PLAN_UNKNOWN: { status: 404, message: "plan not known to registry: it was made more than a day ago, or never", spec: "Berth" },
  PLAN_CHANGED: { status: 409, message: "the plan does not hold any more: make another", spec: "Berth" },
  PLAN_ENDED: { status: 409, message: "the plan was run, or cancelled", spec: "Berth" },
  WEBHOOK_UNKNOWN: { status: 404, message: "webhook not known to registry", spec: "Berth" },
  WEBHOOK_EXISTS: { status: 409, message: "a webhook of that name exists", spec: "Berth" },
  WEBHOOKS_EXCEEDED: { status: 409, message: "there are as many webhooks as there may be", spec: "Berth" },
  DELIVERY_UNKNOWN: { status: 404, message: "the webhook has no such delivery", spec: "Berth" },
  JOB_UNKNOWN: { status: 404, message: "job not known to registry", spec: "Berth" },
  JOB_ENDED: { status: 409, message: "the job has ended", spec: "Berth" },
  JOB_NOT_FAILED: { status: 409, message: "only a job that failed or was cancelled can be tried again", spec: "Berth" },
  JOB_EXISTS: { status: 409, message: "another job of the kind waits for the same subject", spec: "Berth" },
  SETTING_FIXED: { status: 409, message: "the configuration gives the setting: it cannot be changed here", spec: "Berth" },
  SETTING_INVALID: { status: 400, message: "the setting cannot have that value", spec: "Berth" },
} as const satisfies Record<string, ErrorRow>;

/** A code that only the control plane has. */
export type ApiErrorCode = keyof typeof API_ERROR_ROWS;

/** A `RegistryError` with one of the control plane's codes. */
export class ApiError extends RegistryError {
  override readonly code: ApiErrorCode;

  constructor(code: ApiErrorCode, options: RegistryErrorOptions = {}) {
    const row = API_ERROR_ROWS[code];
    super("UNKNOWN", { ...options, status: options.status ?? row.status, message: options.message ?? row.message });
    this.name = "ApiError";
    this.code = code;
  }
}
