// A project's traits beyond its name and members: an upstream, policies, a quota. A feature declares a trait, compose passes all of them
// in, and decisions carry them; they are read by the statement that finds the project anyway. Not here: what any trait means (features).
import { ApiError } from "@berth/api/errors";
import { RegistryError } from "@berth/oci/errors";
import { projectOf } from "@berth/oci/reference";
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { Grant } from "./caller.ts";

/** One kind of trait. */
export interface ProjectTrait<T = unknown> {
  /** The name under which it is stored. Never reused for another kind. */
  readonly name: string;
  /**
   * Parses the stored value. It must accept what earlier releases stored; a value on which it throws closes the project
   * (`refuseUnknownTraits`).
   */
  read(stored: unknown): T;
  /**
   * Set if no caller may push into a project with the trait, mounts and uploads included: the reason. Jobs may (`asSystem`), and rights to
   * delete are unchanged.
   */
  readonly pushRefusal?: string;
}

/** The traits of one project that has some. Undefined stands for none, so that most projects cost one comparison. */
export interface ProjectTraits {
  /** It changes with each change: conclusions made under one revision do not hold under the next. */
  readonly revision: number;
  /** Names of traits that this program cannot read: a newer release has set them. */
  readonly unknown: readonly string[];
  /** Why callers may not push; undefined if they may. */
  readonly pushRefusal: string | undefined;
  has(trait: ProjectTrait): boolean;
  find<T>(trait: ProjectTrait<T>): T | undefined;
}

/** The columns of a project in which traits are stored. */
export interface StoredTraits {
  readonly traits: string | null;
  readonly traits_revision: number;
}

/** Parses the stored traits. */
export type ReadTraits = (stored: StoredTraits) => ProjectTraits | undefined;

/** The limit for all of a project's traits together: they are read by each look-up of a project, as often as rights are. */
const MAX_STORED_BYTES = 16 * 1024;
/** The name for traits that cannot be parsed at all: no trait has it. */
const UNREADABLE = "(unreadable)";

/** Creates the parser for the traits that this program knows. Errors: TypeError if two have the same name. */
export function createReadTraits(known: readonly ProjectTrait[]): ReadTraits {
  const byName = new Map(known.map((trait) => [trait.name, trait]));
  if (byName.size !== known.length) throw new TypeError(`two traits have one name: ${known.map(({ name }) => name).join(", ")}`);

  return ({ traits, traits_revision: revision }) => {
    if (traits === null) return undefined;
    const values = new Map<string, unknown>();
    const unknown: string[] = [];
    let pushRefusal: string | undefined;
    for (const [name, stored] of Object.entries(parseStored(traits) ?? { [UNREADABLE]: traits })) {
      const trait = byName.get(name);
      if (trait === undefined) unknown.push(name);
      else {
        try {
          values.set(name, trait.read(stored));
          pushRefusal ??= trait.pushRefusal;
        } catch {
          // The refusal (`refuseUnknownTraits`) names it; the value may be private.
          unknown.push(name);
        }
      }
    }
    return {
      revision,
      unknown,
      pushRefusal,
      has: ({ name }) => values.has(name),
      find: <T>({ name }: ProjectTrait<T>) => values.get(name) as T | undefined,
    };
  };
}

/**
 * Nothing is done in a project with an unknown trait, which may forbid it, just as an unknown role gives no rights.
 * Errors: PROJECT_NEWER.
 */
export function refuseUnknownTraits(projectId: number, { unknown }: ProjectTraits): void {
  if (unknown.length > 0) throw projectNewer(projectId, unknown);
}

function projectNewer(projectId: number, unknown: readonly string[]): RegistryError {
  return new RegistryError("PROJECT_NEWER", {
    cause: new Error(`project ${projectId} has traits that this program cannot read: ${unknown.join(", ")}`),
  });
}

/** The refusal of an action by the project's traits, whatever the caller's rights (judge.ts says when): PROJECT_NEWER or DENIED. */
export function traitsRefusal(
  { unknown, pushRefusal }: ProjectTraits,
  { repository, projectId }: Pick<Grant, "repository" | "projectId">,
): RegistryError {
  if (unknown.length > 0) return projectNewer(projectId, unknown);
  const project = projectOf(repository);
  return new RegistryError("DENIED", { message: `nothing can be pushed to project ${project}: ${pushRefusal}`, detail: { project } });
}

const lockTraits = statement<{ projectId: number }>()("project_traits.lock", (db, p, tools) =>
  db.selectFrom("project").select("traits").where("id", "=", p.projectId).modifyEnd(tools.lock("update")),
);
const putTraits = statement<{ projectId: number; traits: string | null }>()("project_traits.put", (db, p) =>
  db
    .updateTable("project")
    .set(({ eb, lit }) => ({ traits: p.traits, traits_revision: eb("traits_revision", "+", lit(1)) }))
    .where("id", "=", p.projectId),
);

const findTraits = statement<{ projectId: number }>()("project_traits.find", (db, p) =>
  db.selectFrom("project").select(["traits", "traits_revision"]).where("id", "=", p.projectId),
);

/** What a project has now. Errors: PROJECT_UNKNOWN. */
export async function findProjectTraits(executor: Executor, readTraits: ReadTraits, projectId: number): Promise<ProjectTraits | undefined> {
  const row = await executor.first(findTraits, { projectId });
  if (row === undefined) throw new ApiError("PROJECT_UNKNOWN");
  return readTraits(row);
}

/**
 * Sets a project's trait, or removes it (undefined). The caller calls `Accounts.forget` after the commit; other replicas see it as soon as
 * changed rights. Errors: PROJECT_UNKNOWN; RangeError if a project's traits get too long.
 */
export async function putProjectTrait(tx: Executor, projectId: number, trait: ProjectTrait, value: unknown): Promise<void> {
  const row = await tx.first(lockTraits, { projectId });
  if (row === undefined) throw new ApiError("PROJECT_UNKNOWN");
  const stored = row.traits === null ? {} : parseStored(row.traits);
  if (stored === undefined) throw new Error(`the traits of project ${projectId} cannot be read: they are left as they are`);
  const { [trait.name]: _, ...others } = stored;
  const all = value === undefined ? others : { ...others, [trait.name]: value };
  // A value that cannot be parsed again would close the project.
  if (value !== undefined) trait.read(value);
  const traits = Object.keys(all).length === 0 ? null : JSON.stringify(all);
  if (traits !== null && Buffer.byteLength(traits) > MAX_STORED_BYTES) {
    throw new RangeError(
      `a project's traits have ${MAX_STORED_BYTES} bytes at most: keep lists in a table and their revision in the trait`,
    );
  }
  await tx.run(putTraits, { projectId, traits }, 1);
}

function parseStored(text: string): Record<string, unknown> | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null && !Array.isArray(parsed) ? (parsed as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
