// What an operation demands of its caller: data, from which the server takes what it enforces and the document what it says.
// Not here: who has it (the server's access/).

/** What can be asked for in a project. */
export const PROJECT_PERMISSIONS = [
  "project.read",
  "project.update",
  "project.delete",
  "members.read",
  "members.write",
  "robots.read",
  "robots.write",
  "policies.read",
  "policies.write",
  "audit.read",
  "webhooks.read",
  "webhooks.write",
] as const;
/** One of `PROJECT_PERMISSIONS`. */
export type ProjectPermission = (typeof PROJECT_PERMISSIONS)[number];

/** What system roles let somebody do in the whole registry. Administrators may do all of it. */
export const SYSTEM_PERMISSIONS = [
  "audit.read",
  "groups.read",
  "jobs.read",
  "metrics.read",
  "projects.create",
  "robots.read",
  "settings.read",
  "uploads.read",
  "usage.read",
  "users.read",
  "webhooks.read",
] as const;
/** One of `SYSTEM_PERMISSIONS`. */
export type SystemPermission = (typeof SYSTEM_PERMISSIONS)[number];

/** One demand. Of `project` and `repository` the operation's path names which. */
export type Permission =
  /** Whoever asks gets what he may see. */
  | { readonly kind: "anyone" }
  | { readonly kind: "account" }
  /** An account of a person. `inPerson`: signed in with the password or in a session, and not by a personal token. */
  | { readonly kind: "user"; readonly inPerson?: true }
  | { readonly kind: "administrator" }
  /** Administrators, and whose system role lets them. */
  | { readonly kind: "system"; readonly may: SystemPermission }
  /** Administrators and creators, or every user, as the registry is set up. */
  | { readonly kind: "project-creation" }
  | { readonly kind: "project"; readonly may: ProjectPermission }
  | { readonly kind: "repository"; readonly may: "pull" | "delete" };

const IN_PROJECT: Readonly<Record<ProjectPermission, string>> = {
  "project.read": "members, auditors, and robots with a scope there; anyone where the project is public",
  "project.update": "owners",
  "project.delete": "owners",
  "members.read": "members and auditors",
  "members.write": "owners",
  "robots.read": "maintainers, owners and auditors",
  "robots.write": "owners",
  "policies.read": "members and auditors",
  "policies.write": "maintainers and owners",
  "audit.read": "maintainers, owners and auditors",
  "webhooks.read": "maintainers, owners and auditors",
  "webhooks.write": "maintainers and owners",
};

/** Who may, in words that follow "for". */
export function whoMay(permission: Permission): string {
  switch (permission.kind) {
    case "anyone":
      return "anyone";
    case "account":
      return "every account";
    case "user":
      return permission.inPerson === true ? "every user, not by a personal token" : "every user";
    case "administrator":
      return "administrators";
    case "system":
      return permission.may === "projects.create" ? "administrators and creators" : "administrators and auditors";
    case "project-creation":
      return "administrators and creators, or every user where the registry is set up so";
    case "project":
      return IN_PROJECT[permission.may];
    case "repository":
      return permission.may === "pull" ? "who may pull from it" : "who may delete in it: maintainers, owners, robots with the scope";
  }
}

/** Whether somebody without credentials can have it at all. */
export function isForAnonymous(permission: Permission): boolean {
  switch (permission.kind) {
    case "anyone":
      return true;
    case "project":
      return permission.may === "project.read";
    case "repository":
      return permission.may === "pull";
    default:
      return false;
  }
}
