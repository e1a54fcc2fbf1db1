// The texts of refusals, case by case, and what they must not reveal. Not here: codes and statuses (authorize.test.ts,
// authenticate.test.ts).
import assert from "node:assert/strict";
import { it } from "node:test";
import { ERROR_ROWS, RegistryError } from "@berth/oci/errors";
import { parseRepositoryName } from "@berth/oci/reference";
import { forEachDatabase } from "../platform/database/databases.testing.ts";
import {
  addProject,
  addRobot,
  addUser,
  basic,
  changeAccount,
  createTestAccess,
  createTestClock,
  TEST_ADDRESS,
  TEST_PASSWORD,
} from "./access.testing.ts";
import type { Action, Caller } from "./caller.ts";
import { challenge } from "./challenge.ts";
import { generateSecret } from "./secrets.ts";
import { NO_SIGN_IN } from "./sign-in.ts";

/** Texts of the specification, which docker does not show. */
const SILENT = new Set<string>(Object.values(ERROR_ROWS).map((row) => row.message));

forEachDatabase("refusals", (create) => {
  it("say what is wrong and who can help", async (t) => {
    const test = await create();
    t.after(() => test.end());
    const clock = createTestClock();
    const access = createTestAccess(test.database, clock);
    const own = await addProject(test.database, "own");
    await addProject(test.database, "open", true);
    await addProject(test.database, "hidden");
    await addUser(test.database, "guest", { roles: new Map([[own, "guest"]]) });
    await addUser(test.database, "root", { isAdmin: true });
    const off = await addUser(test.database, "off");
    await changeAccount(test.database, off, { isDisabled: true }, true);
    const robot = await addRobot(test.database, "own+ci", own, { "own/ci/*": ["pull"] });
    const disabled = await addRobot(test.database, "own+off", own, {});
    await changeAccount(test.database, disabled.id, { isDisabled: true }, true);
    const expired = await addRobot(test.database, "own+old", own, {});
    await changeAccount(test.database, expired.id, { expiresAt: new Date(clock.now() - 1) }, true);

    async function said(work: () => unknown): Promise<string> {
      const error: unknown = await (async () => work())().then(
        () => assert.fail("was not refused"),
        (each: unknown) => each,
      );
      assert.ok(error instanceof RegistryError, String(error));
      assert.ok(!SILENT.has(error.message), `docker would not show: ${error.message}`);
      return `${error.code} ${error.message}`;
    }
    const login = (name: string, secret: string) => said(() => access.authenticator.authenticate(basic(name, secret), TEST_ADDRESS));
    const wrong = "UNAUTHORIZED the user name or the password is wrong, or the user is disabled";
    const wrongRobot = "UNAUTHORIZED the robot's name or its secret is wrong";
    assert.equal(await login("guest", "mistyped"), wrong);
    assert.equal(await login("nobody", TEST_PASSWORD), wrong);
    assert.equal(await login("off", TEST_PASSWORD), wrong);
    assert.equal(await login("own+ci", "mistyped"), wrongRobot);
    assert.equal(await login("own+off", generateSecret("robot")), wrongRobot);
    assert.equal(await login("own+old", generateSecret("robot")), wrongRobot);
    assert.equal(await login("own+nobody", robot.secret), wrongRobot);
    assert.equal(await login("own+off", disabled.secret), "UNAUTHORIZED the robot own+off is disabled: who keeps it can enable it again");
    assert.equal(
      await login("own+old", expired.secret),
      "UNAUTHORIZED the time of the robot own+old was over at 2025-12-31T23:59:59.999Z: who keeps it can set another",
    );
    for (let i = 0; i < 4; i++) await login("guest", `mistyped ${i}`);
    assert.equal(await login("guest", TEST_PASSWORD), "TOOMANYREQUESTS too many failed logins: try again in 10 seconds");
    clock.advance(9_001);
    assert.equal(await login("guest", TEST_PASSWORD), "TOOMANYREQUESTS too many failed logins: try again in 1 second");
    clock.advance(3_600_000);

    const anonymous: Caller = { kind: "anonymous", via: NO_SIGN_IN, access: undefined };
    const guest = await access.authenticator.authenticate(basic("guest", TEST_PASSWORD), TEST_ADDRESS);
    const root = await access.authenticator.authenticate(basic("root", TEST_PASSWORD), TEST_ADDRESS);
    const ci = await access.authenticator.authenticate(basic("own+ci", robot.secret), TEST_ADDRESS);
    const asks = (caller: Caller, action: Action, name: string) =>
      said(() => access.authorizer.authorize(caller, action, parseRepositoryName(name)));
    const table: [Caller, Action, string, string][] = [
      [
        guest,
        "push",
        "own/app",
        "DENIED guest may not push to own/app: the role guest does not let anybody push there; an owner of the project own can give the role developer",
      ],
      [
        guest,
        "delete",
        "own/app",
        "DENIED guest may not delete from own/app: the role guest does not let anybody delete there; an owner of the project own can give the role maintainer",
      ],
      [
        guest,
        "push",
        "open/app",
        "DENIED guest may not push to open/app: the project is public, but that takes a role in it; an owner of the project open can give the role developer",
      ],
      [
        ci,
        "push",
        "own/ci/x",
        "DENIED own+ci may not push to own/ci/x: no scope of the robot lets it push there; who keeps the robot can change its scopes",
      ],
      [root, "push", "none/app", 'NAME_UNKNOWN project none does not exist; create it first: POST /api/v1/projects {"name":"none"}'],
      [root, "pull", "none/app", "NAME_UNKNOWN project none does not exist"],
      [root, "delete", "none/app", "NAME_UNKNOWN project none does not exist"],
    ];
    // The same for a private project and for one that does not exist.
    for (const name of ["hidden/app", "none/app"]) {
      table.push(
        [
          guest,
          "pull",
          name,
          `NAME_UNKNOWN ${name} does not exist, or guest may not pull from it; if there is one, an owner of its project can give the role guest`,
        ],
        [
          guest,
          "push",
          name,
          `DENIED ${name} does not exist, or guest may not push to it; if there is one, an owner of its project can give the role developer; if not, who may create projects can make the project ${name.split("/")[0]} (berth project create)`,
        ],
        [ci, "push", name, `DENIED ${name} does not exist, or own+ci may not push to it; who keeps the robot can change its scopes`],
        [
          anonymous,
          "push",
          name,
          `UNAUTHORIZED no credentials came that let anybody push to ${name}: log in; if you are, a proxy on the way removes the Authorization header`,
        ],
      );
    }
    for (const [caller, action, name, text] of table) assert.equal(await asks(caller, action, name), text);

    const { token } = await access.tokens.issueToken(anonymous, ["repository:own/app:push"]);
    const nobody = await access.authenticator.authenticate(`Bearer ${token}`, TEST_ADDRESS);
    assert.match(await asks(nobody, "push", "own/app"), /^UNAUTHORIZED no credentials came/);
    // docker takes it from there.
    const refused: unknown = await (async () => access.authorizer.authorize(nobody, "push", parseRepositoryName("own/app")))().catch(
      (error: unknown) => error,
    );
    assert.match(
      challenge({ realm: "http://x/token", service: "berth" }, refused),
      /,error="insufficient_scope",error_description="no credentials came that let anybody push to own\/app: log in; [^"]+"$/,
    );
    assert.match(
      await said(() => access.authenticator.authenticate("Bearer x.y.z", TEST_ADDRESS)),
      /^UNAUTHORIZED the token does not count/,
    );
    assert.match(
      await said(() => access.authenticator.authenticate("Basic !!", TEST_ADDRESS)),
      /^UNAUTHORIZED the Authorization header holds/,
    );
  });
});
