// Fields that several operations share, each with its limits. Not here: the operations.
import Type, { type Static, type TProperties, type TSchema } from "typebox";
import { DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE } from "./limits.ts";

const SEGMENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";

/** An object that has these fields and no other. */
export function closed<P extends TProperties>(properties: P, options: { description?: string } = {}) {
  return Type.Object(properties, { ...options, additionalProperties: false });
}

/** No fields. */
export const Nothing = closed({});

export const ProjectNameField = Type.String({
  pattern: `^${SEGMENT}$`,
  minLength: 1,
  maxLength: 128,
  description: "A project's name: the first segment of its repositories' names.",
});

export const RepositoryPathField = Type.String({
  pattern: `^${SEGMENT}(?:/${SEGMENT})*$`,
  minLength: 1,
  maxLength: 253,
  description: "A repository's name below its project; in an address each / is written %2F.",
});

export const CountField = Type.Integer({ minimum: 0 });

export const UserNameField = Type.String({
  pattern: "^(?!me$)[a-z0-9]+(?:[._@-][a-z0-9]+)*$",
  minLength: 1,
  maxLength: 64,
  description: 'A user\'s login name; not "me".',
});

export const GroupNameField = Type.String({
  pattern: "^[a-z0-9]+(?:[._-][a-z0-9]+)*$",
  minLength: 1,
  maxLength: 64,
  description: "A group's name here; what a provider calls it is in its source.",
});

export const RobotNameField = Type.String({
  pattern: "^[a-z0-9]+(?:[._-][a-z0-9]+)*$",
  minLength: 1,
  maxLength: 64,
  description: "A robot's own name. It logs in as PROJECT+NAME, or +NAME where it belongs to the registry.",
});

/** A password that somebody chooses. Checked for its length alone. Source: NIST SP 800-63B, section 3.1.1.2. */
export const NewPasswordField = Type.String({ minLength: 10, maxLength: 256, description: "10 to 256 characters." });
/** A password that somebody has. */
export const PasswordField = Type.String({ minLength: 1, maxLength: 256 });

export const TimeField = Type.String({ format: "date-time", maxLength: 40, description: "RFC 3339, for example 2027-01-31T12:00:00Z." });

export const RoleField = Type.Enum(["guest", "developer", "maintainer", "owner"], {
  description:
    "guest pulls; developer pulls and pushes; maintainer deletes and sets policies as well; owner manages members and robots as well.",
});
/** A member's role. */
export type RoleValue = Static<typeof RoleField>;

export const SystemRoleField = Type.Enum(["administrator", "auditor", "creator"], {
  description:
    "What a user is in the whole registry: an administrator does everything; an auditor reads and pulls everything and changes nothing; a creator may create projects.",
});
/** What a user is in the whole registry. */
export type SystemRoleValue = Static<typeof SystemRoleField>;

export const VisibilityField = Type.Enum(["private", "public"], { description: "Anyone may pull from a public project." });

export const ActionField = Type.Enum(["pull", "push", "delete"]);

/** Query of a list: a page after an item. */
export const PageQuery = closed({
  after: Type.Optional(
    // A hidden place has 394 characters (the server's distribution/list-places.ts).
    Type.String({ maxLength: 512, description: "The page goes on after the item of this name: the `next` of the page before." }),
  ),
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: MAX_PAGE_SIZE, description: `Items of the page; ${DEFAULT_PAGE_SIZE} where it is not given.` }),
  ),
});

/** Answer of a list. */
export function page<S extends TSchema>(item: S) {
  return closed({
    items: Type.Array(item),
    next: Type.Union([Type.String(), Type.Null()], {
      description:
        "`after` of the next page; null on the last. A page that would be too large, or takes too much looking, is shorter than `limit`, even empty, and has one.",
    }),
  });
}

const NEXT = page(Type.Null()).properties.next;

/** Answer of a list that says how many items there are. */
export function countedPage<S extends TSchema>(item: S) {
  return closed({
    items: Type.Array(item),
    next: NEXT,
    total: Type.Union([CountField, Type.Null()], {
      description: "How many there are in all, as it is counted with each change; null for a list of some of them.",
    }),
  });
}
