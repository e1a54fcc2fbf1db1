// What a project has beyond its name and members: an upstream, policies, a quota. A feature declares a trait, compose hands all of them in, and
// decisions carry them to who asks; they come with the statement that finds the project anyway. Not here: what any trait means (features).
import { ApiError } from "@berth/api/errors";
import { RegistryError } from "@berth/oci/errors";
import { projectOf } from "@berth/oci/reference";
import type { Executor } from "../platform/database/database.ts";
import { statement } from "../platform/database/statement.ts";
import type { Grant } from "./caller.ts";

/** One kind of thing that projects may have. */
export interface ProjectTrait<T = unknown> {
  /** What it is stored by. Never given to another kind later. */
  readonly name: string;
  /** Reads what is stored. It must take what earlier releases stored; what it throws on closes the project (`refuseUnknownTraits`). */
  read(stored: unknown): T;
  /**
   * Set where no caller may push into a project that has it, mounts and uploads included: why. Jobs may (`asSystem`), and everybody may delete
   * who could before.
   */
  readonly pushRefusal?: string;
}

/** The traits of one project that has some. Undefined stands for none, so that most projects cost a comparison. */
export interface ProjectTraits {
  /** Another for each change: what was concluded under one holds no longer under the next. */
  readonly revision: number;
  /** Names of traits that this program cannot read: a newer release has set them. */
  readonly unknown: readonly string[];
  /** Why callers may not push; undefined where they may. */
  readonly pushRefusal: string | undefined;
  has(trait: ProjectTrait): boolean;
  find<T>(trait: ProjectTrait<T>): T | undefined;
}

/** The columns of a project that traits are made of. */
export interface StoredTraits {
  readonly traits: string | null;
  readonly traits_revision: number;
}

/** Makes traits of what is stored. */
export type ReadTraits = (stored: StoredTraits) => ProjectTraits | undefined;

/** All of a project's traits together: they are read by each look-up of a project, as often as rights are. */
const MAX_STORED_BYTES = 16 * 1024;
/** What they are read as that cannot be read at all: no trait has this name. */
const UNREADABLE = "(unreadable)";

/** Makes the reader of the traits that this program knows. Errors: TypeError where two have one name. */
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
          // Said to whoever is refused for it (`refuseUnknownTraits`), by name; the value may hold what nobody is to read.
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
 * Nothing is done in a project of which something is not known that may forbid it, as a role that nobody knows gives no rights.
 * Errors: PROJECT_NEWER.
 */
export function refuseUnknownTraits(projectId: number, { unknown }: ProjectTraits): void {
  if (unknown.length === 0) return;
  throw new RegistryError("PROJECT_NEWER", {
    cause: new Error(`project ${projectId} has traits that this program cannot read: ${unknown.join(", ")}`),
  });
}

/** What a caller may not do for what the project has, whatever his rights. Errors: PROJECT_NEWER, DENIED. */
export function refuseByTraits(
  traits: ProjectTraits,
  { action, repository, projectId }: Pick<Grant, "action" | "repository" | "projectId">,
): void {
  refuseUnknownTraits(projectId, traits);
  if (action !== "push" || traits.pushRefusal === undefined) return;
  const project = projectOf(repository);
  throw new RegistryError("DENIED", { message: `nothing can be pushed to project ${project}: ${traits.pushRefusal}`, detail: { project } });
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

/**
 * Gives a project a trait, another value of it, or (undefined) takes it away. Who calls it tells `Accounts.forget` behind the commit; other
 * replicas see it as soon as rights that were changed. Errors: PROJECT_UNKNOWN; RangeError where a project's traits get too long.
 */
export async function putProjectTrait(tx: Executor, projectId: number, trait: ProjectTrait, value: unknown): Promise<void> {
  const row = await tx.first(lockTraits, { projectId });
  if (row === undefined) throw new ApiError("PROJECT_UNKNOWN");
  const stored = row.traits === null ? {} : parseStored(row.traits);
  if (stored === undefined) throw new Error(`the traits of project ${projectId} cannot be read: they are left as they are`);
  const { [trait.name]: _, ...others } = stored;
  const all = value === undefined ? others : { ...others, [trait.name]: value };
  // What cannot be read back would close the project.
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
