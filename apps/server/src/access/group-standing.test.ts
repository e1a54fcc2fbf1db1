// What accounts are by their groups, against a model, over random histories on every engine: their standing in projects, the lists of what they may
// read, their role in the registry, and what providers say of them. Not here: the operations (http/api/groups.test.ts).
import assert from "node:assert/strict";
import { after, before, it } from "node:test";
import { parseRepositoryName } from "@berth/oci/reference";
import { forEachDatabase, type TestDatabase } from "../platform/database/databases.testing.ts";
import { addProject, addUser, callerOf, createTestAccess, createTestClock, type TestAccess } from "./access.testing.ts";
import type { AccountChange } from "./account-changes.ts";
import { findAccount } from "./account-store.ts";
import { systemActor } from "./actor.ts";
import { setMemberships } from "./group-memberships.ts";
import * as groups from "./group-store.ts";
import { deleteMember, putMember } from "./member-store.ts";
import { actionsOfRole, ROLES, type Role, strongestRole, SYSTEM_ROLES, type SystemRole } from "./roles.ts";

const ROUNDS = 60;
const seed = Number(process.env["BERTH_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));

/** A generator of numbers that a seed repeats. Source: Marsaglia, Xorshift RNGs, 2003. */
function generator(start: number): (below: number) => number {
  let state = start === 0 ? 1 : start;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

forEachDatabase("standing by groups", (create, dialect) => {
  let test: TestDatabase;
  let access: TestAccess;
  before(async () => {
    test = await create();
    access = createTestAccess(test.database, createTestClock());
  });
  after(() => test.end());

  it("is the strongest of one's own role and the groups', and is what lists and roles in the registry go by", async () => {
    console.log(`standing by groups on ${dialect}: BERTH_TEST_SEED=${seed}`);
    const below = generator(seed);
    const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
    const users = ["ann", "ben", "cat"];
    const projects = ["alpha", "beta", "gamma"];
    const names = ["g1", "g2", "g3", "g4"];
    const userIds = new Map<string, number>();
    const projectIds = new Map<string, number>();
    const groupIds = new Map<string, number>();
    const own = new Map<string, Role>();
    const ofGroup = new Map<string, Role>();
    const members = new Set<string>();
    const systemRoles = new Map<string, SystemRole | undefined>();
    for (const name of users) userIds.set(name, await addUser(test.database, name, { secretHash: "unused" }));
    for (const name of projects) projectIds.set(name, await addProject(test.database, name));
    for (const name of names) {
      const group = { name, description: "", source: { kind: "oidc", provider: "idp", key: `/${name}` }, systemRole: undefined } as const;
      groupIds.set(name, (await test.database.transaction((tx) => groups.insertGroup(tx, group, 1)))!);
    }
    const recorded: AccountChange[] = [];
    const changes = {
      wants: () => true,
      record: (_: unknown, __: unknown, found: readonly AccountChange[]) => {
        recorded.push(...found);
        return Promise.resolve();
      },
    };
    for (let round = 0; round < ROUNDS; round++) {
      const [user, project, group] = [pick(users), pick(projects), pick(names)];
      const [userId, projectId, groupId] = [userIds.get(user)!, projectIds.get(project)!, groupIds.get(group)!];
      const role = pick(ROLES);
      await test.database.transaction(async (tx) => {
        switch (below(6)) {
          case 0:
            if (own.delete(`${user} ${project}`)) await deleteMember(tx, projectId, userId);
            else {
              own.set(`${user} ${project}`, role);
              await putMember(tx, projectId, userId, role);
            }
            break;
          case 1:
            if (below(3) === 0 && ofGroup.delete(`${group} ${project}`)) await groups.deleteProjectGroup(tx, projectId, groupId);
            else {
              ofGroup.set(`${group} ${project}`, role);
              await groups.putProjectGroup(tx, { id: projectId, name: project }, groupId, { role });
            }
            break;
          case 2: {
            const key = `${group} ${user} local`;
            if (members.delete(key)) assert.equal(await groups.removeGroupMember(tx, groupId, userId, "local"), true);
            else {
              members.add(key);
              assert.equal(await groups.addGroupMember(tx, groupId, userId, "local"), true);
            }
            break;
          }
          case 3: {
            const systemRole = pick([...SYSTEM_ROLES, undefined]);
            systemRoles.set(group, systemRole);
            await groups.updateGroup(tx, { ...(await groups.lockGroup(tx, group))!, systemRole });
            break;
          }
          default: {
            // What the provider says is all that it says, and nothing of what others say.
            const said = names.filter(() => below(2) === 0);
            const before = names.filter((name) => members.has(`${name} ${user} oidc:idp`));
            recorded.length = 0;
            const keys = [...said, ...said].map((name) => `/${name}`);
            await setMemberships(
              tx,
              { actor: systemActor("test"), changes },
              { account: { id: userId, name: user }, source: { kind: "oidc", provider: "idp" } },
              [...keys, "/unknown", "g1", "'; drop table account"],
            );
            for (const name of names) members.delete(`${name} ${user} oidc:idp`);
            for (const name of said) members.add(`${name} ${user} oidc:idp`);
            const told = recorded.map((change) => `${change.kind} ${"group" in change ? change.group : ""}`).toSorted();
            assert.deepEqual(
              told,
              [
                ...before.filter((name) => !said.includes(name)).map((name) => `group.member-removed ${name}`),
                ...said.filter((name) => !before.includes(name)).map((name) => `group.member-added ${name}`),
              ].toSorted(),
            );
          }
        }
      });
      access.accounts.forget();
      for (const name of users) {
        const caller = await callerOf(test.database, userIds.get(name)!);
        const mine = names.filter((each) => members.has(`${each} ${name} local`) || members.has(`${each} ${name} oidc:idp`));
        const held = new Set(mine.map((each) => systemRoles.get(each)));
        const account = (await findAccount(test.database, userIds.get(name)!))!;
        assert.equal(account.isAdmin, held.has("administrator"));
        if (!account.isAdmin) assert.deepEqual([account.isAuditor, account.isCreator], [held.has("auditor"), held.has("creator")]);
        const seesAll = account.isAdmin || account.isAuditor;
        const readable: string[] = [];
        for (const each of projects) {
          const roles = [own.get(`${name} ${each}`), ...mine.map((one) => ofGroup.get(`${one} ${each}`))].filter(
            (one) => one !== undefined,
          );
          const strongest = strongestRole(roles.map((one) => ({ role: one })));
          const expected = account.isAdmin
            ? 3
            : Math.max(strongest === undefined ? 0 : actionsOfRole(strongest).size, account.isAuditor ? 1 : 0);
          assert.equal(
            (await access.authorizer.allowed(caller, parseRepositoryName(`${each}/x`))).size,
            expected,
            `round ${round} ${name} ${each}`,
          );
          if (strongest !== undefined || seesAll) readable.push(each);
        }
        for (const limit of [1, 10]) {
          const seen: string[] = [];
          let place = "";
          for (;;) {
            const page = await access.authorizer.listReadableProjects(caller, place, limit);
            seen.push(...page.map((each) => each.name));
            if (page.length < limit) break;
            place = page.at(-1)!.sortKey;
          }
          assert.deepEqual(seen, readable, `round ${round} ${name}`);
        }
      }
    }
  });
});
