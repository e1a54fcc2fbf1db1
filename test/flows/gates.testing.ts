// Two gates controlled by a test: one looks its answers up in a table of the registry's database, as a feature would, and an obvious fake
// has them in memory. Not here: the tests (gate.test.ts).
import { sql } from "kysely";
import type { ProjectTrait } from "../../apps/server/src/access/project-traits.ts";
import type { Gate, GateQuestion, Verdict } from "../../apps/server/src/distribution/gate.ts";
import type { Database } from "../../apps/server/src/platform/database/database.ts";
import { statement } from "../../apps/server/src/platform/database/statement.ts";

/** The gate's answer for a digest, set by a test. */
export type Rule =
  | { readonly says: "no"; readonly text: string }
  | { readonly says: "warn"; readonly text: string }
  | { readonly says: "throw"; readonly text: string }
  /** Something that is no verdict. */
  | { readonly says: "nonsense"; readonly text: string };

/** A gate, the questions that it got, and its answers; it allows everything else. */
export interface TestGate {
  readonly gate: Gate;
  readonly asked: GateQuestion[];
  put(digest: string, rule: Rule): Promise<void>;
  clear(): Promise<void>;
}

/** The trait of projects for which the gate is asked. */
export const policyTrait: ProjectTrait<{ readonly level: string }> = {
  name: "test-policy",
  read: (stored) => ({ level: String((stored as { level: unknown }).level) }),
};

function verdictOf(rule: Rule | undefined): Verdict {
  switch (rule?.says) {
    case undefined:
      return { allowed: true };
    case "no":
      return { allowed: false, reasons: [rule.text] };
    case "warn":
      return { allowed: true, warnings: [rule.text] };
    case "throw":
      throw new Error(rule.text);
    case "nonsense":
      return { allowed: "of course" } as unknown as Verdict;
  }
}

/** The fake: a map, which answers at once. */
export async function fakeGate(): Promise<TestGate> {
  const rules = new Map<string, Rule>();
  const asked: GateQuestion[] = [];
  return {
    asked,
    gate: {
      trait: policyTrait,
      verdict(question) {
        asked.push(question);
        return verdictOf(rules.get(question.manifest.digest));
      },
    },
    put: async (digest, rule) => void rules.set(digest, rule),
    clear: async () => rules.clear(),
  };
}

const find = statement<{ projectId: number; digest: string }>()("test.gate", (db, p) =>
  db
    .selectFrom(sql<{ says: Rule["says"]; text: string }>`test_gate`.as("rule"))
    .select(["rule.says", "rule.text"])
    .where(sql<number>`rule.project_id`, "=", p.projectId)
    .where(sql<string>`rule.digest`, "=", p.digest),
);
const put = statement<{ digest: string; says: string; text: string }>()("test.put_gate", (db, p) =>
  db
    .insertInto("test_gate" as "project")
    .columns(["project_id", "digest", "says", "text"] as never)
    .expression((eb) =>
      eb
        .selectFrom("project")
        .select([
          "project.id",
          eb.cast<string>(eb.val(p.digest), "text").as("digest"),
          eb.cast<string>(eb.val(p.says), "text").as("says"),
          eb.cast<string>(eb.val(p.text), "text").as("text"),
        ])
        .where("project.name", "=", "guarded"),
    ),
);

/** The realistic one: one statement for each question, on the registry's own database. */
export async function tableGate(database: Database): Promise<TestGate> {
  await database.script(
    "create table test_gate (project_id bigint not null, digest text not null, says text not null, text text not null)",
  );
  const asked: GateQuestion[] = [];
  return {
    asked,
    gate: {
      trait: policyTrait,
      async verdict(question) {
        asked.push(question);
        const row = await database.first(find, { projectId: question.grant.projectId, digest: question.manifest.digest });
        return verdictOf(row);
      },
    },
    put: async (digest, rule) => void (await database.write(put, { digest, ...rule })),
    clear: () => database.script("delete from test_gate"),
  };
}
