// Asks the gates of a project whether content may be served, and turns their answers into the client's: the content, perhaps with warnings,
// or a refusal with its reason. Any failure on the way is no permission. Not here: the port (gate.ts), the callers (pull.ts, mount.ts).
import type { Digest } from "@berth/oci/digest";
import { RegistryError } from "@berth/oci/errors";
import type { Reference } from "@berth/oci/reference";
import { plainLine, warningValues } from "@berth/oci/warnings";
import type { Grant } from "../access/caller.ts";
import type { Holders } from "../content/holders.ts";
import type { ManifestRow } from "../content/manifests.ts";
import type { GrantedRepository } from "../content/repositories.ts";
import { SECOND_MS } from "../platform/clock.ts";
import type { Gate, GatePurpose, Verdict } from "./gate.ts";

/** Asks the gates. Undefined: no gate applies to the project. */
export interface Gatekeeper {
  /** Whether a gate applies to the grant's project. */
  concerns(grant: Grant<"pull">): boolean;
  /** Warnings for the puller, undefined if there are none. Synchronous if the gates are. Errors: DENIED, UNAVAILABLE. */
  admitManifest(grant: Grant<"pull">, reference: Reference, manifest: ManifestRow): Warnings | Promise<Warnings>;
  /** The same for a blob: one manifest that leads to it may be pulled. */
  admitBlob(repository: GrantedRepository<"pull">, digest: Digest, purpose: "blob" | "mount"): Warnings | Promise<Warnings>;
}

/** Warnings beside content. */
export type Warnings = readonly string[] | undefined;

/** What asking needs. */
export interface GatekeeperParts {
  readonly gates: readonly Gate[];
  readonly holders: Holders;
  /** `VERDICT_MS` where it is not given. */
  readonly verdictMs?: number;
}

/** How long a client waits for an answer, which is then no permission: less than clients wait for theirs. */
const VERDICT_MS = 10 * SECOND_MS;
/** The most manifests that are checked for one blob. A blob to which only older ones lead is refused with those that were checked. */
const MAX_HOLDERS = 200;
/** The most reasons and warnings that are passed on, and their length: they are read in a terminal. */
const MAX_TEXTS = 10;
const MAX_REASON_CHARACTERS = 300;

/** Creates the gatekeeper. */
export function createGatekeeper({ gates, holders, verdictMs = VERDICT_MS }: GatekeeperParts): Gatekeeper {
  const gatesOf = (grant: Grant<"pull">): readonly Gate[] => {
    const { traits } = grant;
    return traits === undefined ? [] : gates.filter(({ trait }) => traits.has(trait));
  };

  /** The combined answer of all gates on a manifest. */
  function judge(
    asked: readonly Gate[],
    grant: Grant<"pull">,
    manifest: ManifestRow,
    purpose: GatePurpose,
    reference?: Reference,
  ): Verdict | Promise<Verdict> {
    const question = { grant, purpose, reference, manifest, relations: () => holders.relations(grant, manifest) };
    const verdicts = asked.map((gate) => verdictOf(gate, () => gate.verdict(question)));
    return verdicts.some((verdict) => verdict instanceof Promise) ? togetherLater(verdicts) : together(verdicts as Verdict[]);
  }

  /** A gate's answer, or the failure to give a valid one. */
  function verdictOf(gate: Gate, ask: () => Verdict | Promise<Verdict>): Verdict | Promise<Verdict> {
    try {
      const answer = ask();
      return answer instanceof Promise ? inTime(gate, answer) : understood(gate, answer);
    } catch (error) {
      throw undecided(gate, error);
    }
  }

  async function inTime(gate: Gate, answer: Promise<Verdict>): Promise<Verdict> {
    const late = Promise.withResolvers<never>();
    const timer = setTimeout(() => late.reject(new Error(`no answer within ${verdictMs} ms`)), verdictMs);
    try {
      return understood(gate, await Promise.race([answer, late.promise]));
    } catch (error) {
      throw undecided(gate, error);
    } finally {
      clearTimeout(timer);
    }
  }

  async function judgeHolders(
    asked: readonly Gate[],
    repository: GrantedRepository<"pull">,
    digest: Digest,
    purpose: "blob" | "mount",
  ): Promise<Verdict> {
    const reasons = new Set<string>();
    let looked = 0;
    for await (const manifest of holders.list(repository, digest)) {
      if (looked++ === MAX_HOLDERS) {
        reasons.add(`the newest ${MAX_HOLDERS} manifests that lead to it were looked at`);
        break;
      }
      const verdict = await judge(asked, repository.grant, manifest, purpose);
      if (verdict.allowed) return verdict;
      for (const reason of verdict.reasons) reasons.add(reason);
    }
    if (looked === 0) reasons.add("no manifest of the repository leads to it");
    return { allowed: false, reasons: [...reasons] };
  }

  return {
    concerns: (grant) => gatesOf(grant).length > 0,
    admitManifest(grant, reference, manifest) {
      const asked = gatesOf(grant);
      if (asked.length === 0) return undefined;
      const verdict = judge(asked, grant, manifest, "manifest", reference);
      const admit = (judged: Verdict): Warnings => admitted(grant, manifest.digest, judged);
      return verdict instanceof Promise ? verdict.then(admit) : admit(verdict);
    },

    admitBlob(repository, digest, purpose) {
      const { grant } = repository;
      const asked = gatesOf(grant);
      const [gate] = asked;
      if (gate === undefined) return undefined;
      const listHolders = () => holders.list(repository, digest);
      // Each of several gates may allow it for another manifest, none of which may be pulled.
      const verdict =
        asked.length === 1 && gate.blobVerdict !== undefined
          ? verdictOf(gate, () => gate.blobVerdict!({ grant, purpose, digest, listHolders }))
          : judgeHolders(asked, repository, digest, purpose);
      const admit = (judged: Verdict): Warnings => admitted(grant, digest, judged);
      return verdict instanceof Promise ? verdict.then(admit) : admit(verdict);
    },
  };
}

async function togetherLater(verdicts: readonly (Verdict | Promise<Verdict>)[]): Promise<Verdict> {
  return together(await Promise.all(verdicts.map(async (verdict) => verdict)));
}

function together(verdicts: readonly Verdict[]): Verdict {
  const reasons = verdicts.flatMap((verdict) => (verdict.allowed ? [] : verdict.reasons));
  if (verdicts.some(({ allowed }) => !allowed)) return { allowed: false, reasons };
  return { allowed: true, warnings: verdicts.flatMap((verdict) => (verdict.allowed ? (verdict.warnings ?? []) : [])) };
}

/** Only an explicit yes or no is accepted: anything else would be a permission by mistake. */
function understood(gate: Gate, answer: Verdict): Verdict {
  const { allowed } = answer as { allowed: unknown };
  if (allowed !== true && allowed !== false) throw new TypeError(`the gate of ${gate.trait.name} gave no verdict`);
  const texts = answer.allowed ? (answer.warnings ?? []) : answer.reasons;
  if (!Array.isArray(texts) || texts.some((text) => typeof text !== "string")) {
    throw new TypeError(`the gate of ${gate.trait.name} gave no texts`);
  }
  return answer;
}

/** Errors: DENIED. */
function admitted(grant: Grant<"pull">, digest: Digest, verdict: Verdict): Warnings {
  if (verdict.allowed)
    return verdict.warnings === undefined || verdict.warnings.length === 0 ? undefined : verdict.warnings.slice(0, MAX_TEXTS);
  throw refusal(grant, digest, verdict.reasons);
}

function refusal({ repository }: Grant<"pull">, digest: Digest, given: readonly string[]): RegistryError {
  const reasons = given.slice(0, MAX_TEXTS).map((reason) => plainLine(reason, MAX_REASON_CHARACTERS));
  const message = `${repository}@${digest} may not be pulled: ${reasons.length === 0 ? "the project's policy forbids it" : reasons.join("; ")}`;
  return new RegistryError("DENIED", {
    message,
    detail: { repository, digest, reasons },
    // Clients read nothing else of a HEAD.
    headers: { warning: warningValues([message]).join(", ") },
  });
}

function undecided(gate: Gate, cause: unknown): RegistryError {
  return new RegistryError("UNAVAILABLE", {
    message: "it could not be decided whether this may be pulled: try again, or look up the request id in the registry's log",
    detail: { gate: gate.trait.name },
    cause,
    // The first request that met the state has logged it, for example an unreachable database.
    isReported: cause instanceof RegistryError && cause.isReported,
  });
}
