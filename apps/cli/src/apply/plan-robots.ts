// How robots, of a project or of the registry, differ from files, with the trust rules that they sign in by. Pure. Not here: the order of steps
// (plan.ts).
import type { RobotDocumentValue } from "@berth/api/apply";
import { type projectRobots, registryRobots } from "@berth/api/robots";
import { type projectTrust, registryTrust, type TrustConditionView } from "@berth/api/trust";
import type { RegistryState, RobotState } from "./registry-state.ts";
import { changed, changesOf, planList, scopeTexts, type Step } from "./step.ts";

type WantedRobot = Omit<RobotDocumentValue, "apiVersion" | "kind">;

/** Where robots are: in a project, or in the registry. */
export interface RobotPlace {
  readonly operations: typeof projectRobots | typeof registryRobots;
  readonly trust: typeof projectTrust | typeof registryTrust;
  readonly params: object;
  /** Of names, as people write them. */
  readonly prefix: string;
}

const FIELDS = ["scopes", "expiresAt", "isDisabled"] as const;
const FORMS = { scopes: scopeTexts, expiresAt: (time: string) => new Date(time).toISOString() };

/** The differences of a whole list. */
export function planRobots(wanted: readonly WantedRobot[], found: readonly RobotState[], place: RobotPlace): readonly Step[] {
  return planList(
    wanted,
    found,
    (robot, known) => planRobot(robot, known, place),
    ({ name: robot }) => ({
      kind: "robot",
      name: place.prefix + robot,
      changes: [],
      call: { operation: place.operations.delete, params: { ...place.params, robot } },
    }),
  );
}

/** The differences of a robot of the registry. */
export function planRegistryRobot(
  { apiVersion: _version, kind: _kind, ...wanted }: RobotDocumentValue,
  state: RegistryState,
): readonly Step[] {
  const found = state.robots?.find((robot) => robot.name === wanted.name);
  return planRobot(wanted, found, { operations: registryRobots, trust: registryTrust, params: {}, prefix: "+" });
}

function planRobot(wanted: WantedRobot, found: RobotState | undefined, place: RobotPlace): readonly Step[] {
  const { operations, params, prefix } = place;
  const name = prefix + wanted.name;
  const changes = changesOf(FIELDS, wanted, found ?? { isDisabled: false }, FORMS);
  const update = { operation: operations.update, params: { ...params, robot: wanted.name } };
  const trust = planTrust(wanted, found, place);
  if (found !== undefined) {
    if (changes.length === 0) return trust;
    return [{ action: "update", kind: "robot", name, changes, call: { ...update, body: changed(wanted, changes) } }, ...trust];
  }
  const { isDisabled, trust: _, ...body } = wanted;
  const made = changes.filter(({ field }) => field !== "isDisabled");
  const created: Step = { action: "create", kind: "robot", name, changes: made, call: { operation: operations.create, params, body } };
  if (isDisabled !== true) return [created, ...trust];
  // A robot is made enabled.
  const disabled = changes.filter(({ field }) => field === "isDisabled");
  return [created, { action: "update", kind: "robot", name, changes: disabled, call: { ...update, body: { isDisabled } } }, ...trust];
}

function planTrust({ name: robot, trust: wanted }: WantedRobot, found: RobotState | undefined, place: RobotPlace): readonly Step[] {
  if (wanted === undefined) return [];
  const params = { ...place.params, robot };
  const nameOf = (rule: string): string => `${place.prefix}${robot}/${rule}`;
  return planList(
    wanted,
    found?.trust ?? [],
    ({ name: rule, ...body }, known): readonly Step[] => {
      const changes = changesOf(["issuer", "conditions"], body, known, { conditions: conditionTexts });
      if (changes.length === 0) return [];
      const call = { operation: place.trust.put, params: { ...params, rule }, body };
      return [{ action: known === undefined ? "create" : "update", kind: "trust", name: nameOf(rule), changes, call }];
    },
    ({ name: rule }) => ({
      kind: "trust",
      name: nameOf(rule),
      changes: [],
      call: { operation: place.trust.delete, params: { ...params, rule } },
    }),
  );
}

/** In one order, so that the order of a file makes no difference. */
function conditionTexts(conditions: readonly TrustConditionView[]): readonly string[] {
  return conditions
    .map(({ claim, equals, oneOf, matches }) => {
      if (oneOf !== undefined) return `${claim} in ${JSON.stringify(oneOf.toSorted())}`;
      return equals === undefined ? `${claim} matches ${matches}` : `${claim}=${equals}`;
    })
    .toSorted();
}
