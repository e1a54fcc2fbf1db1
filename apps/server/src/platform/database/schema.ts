// The tables as the queries see them; migrations/ makes them. Times are milliseconds since 1970, truth values 0 or 1, on both engines.
// Not here: what a row means to a feature; that stands beside the store that owns the table.
import type { Generated } from "kysely";

export interface ProjectTable {
  id: Generated<number>;
  name: string;
  /** `name/`: sorts projects exactly as their repositories sort, since "/" is not the smallest character of a name. */
  sort_key: string;
  is_public: number;
  created_at: number;
}

export interface RepositoryTable {
  id: Generated<number>;
  project_id: number;
  /** Whole name, project included. */
  name: string;
  created_at: number;
}

/** One row a digest: bytes exist at `storage_key`, or in `blob_inline` where it is null. */
export interface BlobTable {
  id: Generated<number>;
  digest: string;
  size_bytes: number;
  storage_key: string | null;
  created_at: number;
  /** Set when a read found the bytes missing or wrong: answered as unknown until a push heals it. */
  damaged_at: number | null;
}

export interface BlobInlineTable {
  blob_id: number;
  bytes: Uint8Array;
}

/**
 * A blob is part of a repository. `leased_until` null: some manifest of the repository holds it. Otherwise nothing does, and the
 * collector may take the link after that time.
 */
export interface RepositoryBlobTable {
  repository_id: number;
  blob_id: number;
  leased_until: number | null;
}

export interface ManifestTable {
  id: Generated<number>;
  repository_id: number;
  digest: string;
  media_type: string;
  artifact_type: string | null;
  subject_digest: string | null;
  size_bytes: number;
  /** JSON object; null where there are none. Kept beside the bytes so that referrers need not parse them. */
  annotations: string | null;
  created_at: number;
  bytes: Uint8Array;
  /** By which rule its edges were read (content/older-manifests.ts): 0 is that of earlier releases. */
  edges_version: Generated<number>;
}

export interface ManifestBlobTable {
  repository_id: number;
  blob_id: number;
  manifest_id: number;
}

/**
 * A digest that a manifest names and that need not be there: an absent layer of a sparse image, an entry of an index, a subject, a layer that
 * lies elsewhere, a field of another maker. Where the repository has a blob of it, or gets one, the row holds it.
 */
export interface ManifestSparseBlobTable {
  repository_id: number;
  digest: string;
  manifest_id: number;
}

export interface ManifestChildTable {
  manifest_id: number;
  repository_id: number;
  child_digest: string;
}

export interface TagTable {
  repository_id: number;
  name: string;
  manifest_id: number;
  updated_at: number;
}

export interface TagHistoryTable {
  id: Generated<number>;
  repository_id: number;
  name: string;
  /** Null: the tag was deleted. */
  digest: string | null;
  account_id: number | null;
  at: number;
}

export interface UploadTable {
  id: string;
  repository_id: number;
  account_id: number | null;
  algorithm: string;
  /** JSON of the blob store's own record. */
  record: string;
  offset_bytes: number;
  started_at: number;
  expires_at: number;
  /** Who writes now, and until when without renewal. */
  lock_token: string | null;
  locked_until: number | null;
}

/** Keys whose bytes nobody can reach any more, waiting to be deleted. */
export interface ReclaimTable {
  id: Generated<number>;
  storage_key: string;
  size_bytes: number;
  due_at: number;
  attempts: number;
}

/**
 * What a repository holds, what a project's repositories hold together (`repository_id` 0), and what the registry stores (both 0: blobs, each
 * once, and their bytes). Kept by triggers; right together with what `usage_change` has of the same key. No row: nothing.
 */
export interface UsageTable {
  project_id: number;
  repository_id: number;
  repositories: number;
  manifests: number;
  tags: number;
  /** Links, in a repository. */
  blobs: number;
  /** Of linked blobs and manifests. */
  bytes: number;
  /** When a manifest or tag was last pushed; 0: never. */
  updated_at: number;
}

/** Changes that no job has added to `usage` yet: those of a repository are its project's as well. Always empty on SQLite. */
export type UsageChangeTable = UsageTable;

export interface AccountTable {
  id: Generated<number>;
  kind: "user" | "robot";
  name: string;
  /** Robots of a project; null for users and for robots of the whole registry. */
  project_id: number | null;
  /** argon2id in PHC form for users, sha256 of a random secret for robots. */
  secret_hash: string;
  is_admin: number;
  is_disabled: number;
  /** Raised when a secret, a disablement or an expiry changes: tokens made before are refused. */
  epoch: number;
  expires_at: number | null;
  created_at: number;
}

export interface MemberTable {
  project_id: number;
  account_id: number;
  role: "guest" | "developer" | "maintainer" | "owner";
  /** The project's own, for lists in order. */
  project_sort_key: string;
}

export interface RobotScopeTable {
  account_id: number;
  /** A repository name, or a pattern with `*` at the end of a segment. */
  repository_pattern: string;
  /** Comma-separated actions. */
  actions: string;
}

export interface SigningKeyTable {
  id: string;
  algorithm: string;
  /** PKCS #8 PEM, encrypted with the master key. */
  private_key: string;
  /** JWK as JSON. */
  public_key: string;
  created_at: number;
  /** Signs until then; verifies a token's lifetime longer. */
  signs_until: number;
  verifies_until: number;
}

export interface LoginFailureTable {
  /** Who is guessed at, and from where: `pair:NAME ADDRESS`, `address:ADDRESS`, `fresh:NAME`, `account:NAME`; or a guess, `secret:NAME ADDRESS MARK`. */
  subject: string;
  failures: number;
  window_started_at: number;
  locked_until: number | null;
}

/** Where an account logged in: a keyed hash of its name and the address. */
export interface LoginPlaceTable {
  place: string;
  account_id: number;
  seen_at: number;
}

/** A named piece of work that one process at a time may do. `fence` rises with every new holder. */
export interface JobLeaseTable {
  name: string;
  holder: string;
  fence: number;
  expires_at: number;
}

/** A piece of work that is done later, or again and again. */
export interface JobTable {
  id: Generated<number>;
  kind: string;
  /** What it is about; unique among those of its kind that wait, and among those that run. */
  subject: string;
  /** 0: no project's. */
  project_id: number;
  priority: number;
  /** JSON. */
  payload: string;
  state: "waiting" | "ready" | "running" | "succeeded" | "failed" | "cancelled";
  /** Waiting: when it is due. Running: when its lease ends. Ended: when it is forgotten. */
  due_at: number;
  attempt: number;
  /** Rises each time that a process takes it. */
  fence: number;
  holder: string | null;
  is_cancelled: number;
  done: number | null;
  total: number | null;
  error: string | null;
  created_at: number;
  started_at: number | null;
  ended_at: number | null;
}

/** What a job says to whoever looks at it. */
export interface JobLineTable {
  job_id: number;
  number: number;
  at: number;
  line: string;
}

/** A change that somebody is to react to. */
export interface OutboxTable {
  id: Generated<number>;
  at: number;
  /** Who made it, and what it was, as JSON. */
  actor: string;
  change: string;
}

/** How often a manifest was pulled, and when last. */
export interface ManifestPullTable {
  manifest_id: number;
  pulls: number;
  pulled_at: number;
}

/** The same of all that a repository has and had. */
export interface RepositoryPullTable {
  repository_id: number;
  pulls: number;
  pulled_at: number;
}

export interface MigrationTable {
  id: number;
  name: string;
  applied_at: number;
  /** The oldest program, by the last step that it knows, that may run on a database with this step; null: only those that know the step. */
  oldest_program: number | null;
}

export interface Schema {
  project: ProjectTable;
  repository: RepositoryTable;
  blob: BlobTable;
  blob_inline: BlobInlineTable;
  repository_blob: RepositoryBlobTable;
  manifest: ManifestTable;
  manifest_blob: ManifestBlobTable;
  manifest_sparse_blob: ManifestSparseBlobTable;
  manifest_child: ManifestChildTable;
  tag: TagTable;
  tag_history: TagHistoryTable;
  upload: UploadTable;
  reclaim: ReclaimTable;
  usage: UsageTable;
  usage_change: UsageChangeTable;
  account: AccountTable;
  member: MemberTable;
  robot_scope: RobotScopeTable;
  signing_key: SigningKeyTable;
  login_failure: LoginFailureTable;
  login_place: LoginPlaceTable;
  job_lease: JobLeaseTable;
  job: JobTable;
  job_line: JobLineTable;
  outbox: OutboxTable;
  manifest_pull: ManifestPullTable;
  repository_pull: RepositoryPullTable;
  migration: MigrationTable;
}
