// How groups and issuers of tokens differ from files. Pure. Not here: what groups may in projects (plan-project.ts), the order of steps
// (plan.ts).
import { ldapGroupKey } from "@berth/api/distinguished-name";
import type { GroupDocumentValue, IssuerDocumentValue } from "@berth/api/apply";
import { addGroupMember, createGroup, removeGroupMember, updateGroup } from "@berth/api/groups";
import { createIssuer, type IssuerView, updateIssuer } from "@berth/api/issuers";
import { Stopped } from "../misuse.ts";
import type { GroupState } from "./registry-state.ts";
import { changed, changesOf, extraOf, given, type Step } from "./step.ts";

const GROUP_FIELDS = ["description", "systemRole"] as const;
const CREATE_GROUP = [...GROUP_FIELDS, "source"] as const;

/** As the registry keeps it: a directory's name of a group in one spelling. */
function keyOf({ kind, key }: NonNullable<GroupDocumentValue["source"]>): string | undefined {
  return kind === "ldap" && key !== undefined ? ldapGroupKey(key) : key;
}

/** The differences of a group. Errors: `Stopped` where the file names another source than the group has. */
export function planGroup(document: GroupDocumentValue, found: GroupState | undefined): readonly Step[] {
  const { name, source } = document;
  const steps: Step[] = [];
  if (found === undefined) {
    const changes = changesOf(CREATE_GROUP, document, undefined).filter(({ to }) => to !== null);
    const call = { operation: createGroup, body: { name, ...given(document, CREATE_GROUP) } };
    steps.push({ action: "create", kind: "group", name, changes, call });
  } else {
    const { kind, provider, key } = found.source;
    if (source !== undefined && (source.kind !== kind || source.provider !== provider || keyOf(source) !== key))
      throw new Stopped(`nothing was changed: group ${name} has another source, which cannot be changed: delete the group first`);
    const changes = changesOf(GROUP_FIELDS, document, found);
    const body = changed(document, changes);
    if (changes.length > 0)
      steps.push({ action: "update", kind: "group", name, changes, call: { operation: updateGroup, params: { group: name }, body } });
  }
  if (document.members === undefined) return steps;
  const wanted = new Set(document.members);
  const members = found?.members ?? [];
  const memberOf = (user: string) => ({ kind: "member" as const, name: `${name}/${user}`, changes: [] });
  const callOf = (operation: typeof addGroupMember | typeof removeGroupMember, user: string) => ({
    operation,
    params: { group: name, user },
  });
  for (const user of wanted) {
    if (!members.includes(user)) steps.push({ action: "create", ...memberOf(user), call: callOf(addGroupMember, user) });
  }
  const extra = extraOf(
    members,
    (user) => wanted.has(user),
    (user) => ({ ...memberOf(user), call: callOf(removeGroupMember, user) }),
  );
  return [...steps, ...extra];
}

const ISSUER_FIELDS = ["audiences", "algorithms", "isSingleUse", "isDisabled"] as const;
const CREATE_ISSUER = ["audiences", "algorithms", "isSingleUse", "keys"] as const;
const sorted = (values: readonly string[]): readonly string[] => values.toSorted();
const FORMS = { audiences: sorted, algorithms: sorted };

/** The differences of an issuer. Errors: `Stopped` where the file names another address than the issuer has. */
export function planIssuer(document: IssuerDocumentValue, found: IssuerView | undefined): readonly Step[] {
  const { name, url, keys } = document;
  const update = { operation: updateIssuer, params: { issuer: name } };
  if (found === undefined) {
    const fields = given(document, CREATE_ISSUER);
    const changes = [{ field: "url", from: undefined, to: url }, ...changesOf(ISSUER_FIELDS, fields, undefined, FORMS)];
    const call = { operation: createIssuer, body: { name, url, ...fields, keys: keys ?? undefined } };
    const created: Step = { action: "create", kind: "issuer", name, changes, call };
    if (document.isDisabled !== true) return [created];
    const disabled = [{ field: "isDisabled", from: false, to: true }];
    return [created, { action: "update", kind: "issuer", name, changes: disabled, call: { ...update, body: { isDisabled: true } } }];
  }
  if (found.url !== url)
    throw new Stopped(`nothing was changed: issuer ${name} is ${found.url}, which cannot be changed: delete it, or use another name`);
  const changes = [...changesOf(ISSUER_FIELDS, document, found, FORMS)];
  const body: Record<string, unknown> = changed(document, changes);
  if (keys === null && found.keys.source === "given") {
    changes.push({ field: "keys", from: "given", to: "fetched" });
    body["keys"] = null;
  } else if (typeof keys === "string" && !hasKeys(found, keys)) {
    changes.push({ field: "keys", from: found.keys.source === "given" ? found.keys.ids : "fetched", to: keyIdsOf(keys) });
    body["keys"] = keys;
  }
  return changes.length === 0 ? [] : [{ action: "update", kind: "issuer", name, changes, call: { ...update, body } }];
}

/** The registry says the ids of its keys and not the keys. */
function hasKeys({ keys }: IssuerView, wanted: string): boolean {
  const ids = keyIdsOf(wanted);
  return (
    keys.source === "given" && keys.count === ids.length && String(keys.ids.toSorted()) === String(ids.filter((id) => id !== "").toSorted())
  );
}

function keyIdsOf(text: string): readonly string[] {
  try {
    const { keys } = JSON.parse(text) as { readonly keys: readonly { readonly kid?: string }[] };
    return keys.map(({ kid = "" }) => kid);
  } catch {
    throw new Stopped('nothing was changed: the keys of an issuer must be a JWK set as JSON text: {"keys": [...]}');
  }
}
