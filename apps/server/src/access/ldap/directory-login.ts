// Signs people in by their password in a directory: who asks, when, and what is remembered. Many requests with the same password ask once; a password
// that was wrong is not tried again as long as the directory's one is the same, since each try counts towards a lock there. A directory that does
// not answer is an outage, and never a wrong password. Not here: asking (directory.ts), whose account somebody gets (outside-identities.ts).
import { createHmac, randomBytes } from "node:crypto";
import { ldapGroupKey } from "@berth/api/distinguished-name";
import { RegistryError } from "@berth/oci/errors";
import { LRUCache } from "lru-cache";
import { type Clock, DAY_MS, SECOND_MS } from "../../platform/clock.ts";
import { LdapError } from "../../platform/ldap/ldap-errors.ts";
import type { Account } from "../account-store.ts";
import { isUsable, type Accounts } from "../accounts.ts";
import { UnauthorizedError } from "../challenge.ts";
import { addressGroup, type LoginFailures } from "../login-failures.ts";
import { createLoginMemory, mayTry } from "../login-memory.ts";
import { isOutsideRefusal, type OutsidePolicy, type OutsideSignIn } from "../outside-identities.ts";
import { WRONG_PASSWORD } from "../refusals.ts";
import type { DirectSignIn } from "../sign-in.ts";
import type { Directory } from "./directory.ts";
import type { DirectorySettings, Person } from "./person.ts";

/** What became of a password that was brought. */
export const DIRECTORY_RESULTS = ["right", "wrong", "unknown", "refused", "remembered", "unavailable"] as const;
/** One of them. */
export type DirectoryResult = (typeof DIRECTORY_RESULTS)[number];

/** Signs people in. */
export interface DirectoryLogin {
  /**
   * The account of somebody whom a directory knows under this name, with this password, and how that was proved. Whoever calls it has seen that no
   * account here has the name and a password of its own. Errors: UNAUTHORIZED, TOOMANYREQUESTS, DIRECTORY_UNAVAILABLE.
   */
  signIn(name: string, password: string, remoteAddress: string): Promise<SignedIn>;
}

/** Who signed in. */
export interface SignedIn {
  readonly account: Account;
  readonly via: DirectSignIn;
}

/** What it is made of. */
export interface DirectoryLoginParts {
  /** In the order in which they are asked. */
  readonly directories: readonly Directory[];
  readonly accounts: Pick<Accounts, "find">;
  readonly outside: OutsideSignIn;
  readonly loginFailures: LoginFailures;
  readonly clock: Clock;
  /** Told what became of each password, of which directory if one knew the name, and why. */
  readonly onResult?: (result: DirectoryResult, directory: string | undefined, reason: string | undefined) => void;
}

/** People who signed in, and passwords that were wrong, that are kept. */
const MAX_ENTRIES = 10_000;
/** For how long an answer holds that nobody gains by: a wrong password, and a right one of who may not sign in. */
const NO_FOR_MS = 10_000;
/** The most that `outageMemorySeconds` can be. */
const MAX_OUTAGE_MEMORY_MS = DAY_MS;
/** Clients try again then. */
const RETRY_SECONDS = 5;
/** As what clients show. */
const UNAVAILABLE = "the directory that knows your password does not answer: your password is not wrong, try again later";

/** What a directory says of a name and a password. */
type Verdict =
  | { readonly kind: "right"; readonly directory: Directory; readonly person: Person; readonly groups: readonly string[] }
  | {
      readonly kind: "wrong" | "unknown";
      readonly directory?: Directory;
      readonly name: string;
      readonly reason: string;
      readonly isNew: boolean;
    };

interface Remembered {
  readonly accountId: number;
  readonly epoch: number;
  readonly directory: Directory;
  readonly at: number;
}

/** Creates it. */
export function createDirectoryLogin(parts: DirectoryLoginParts): DirectoryLogin {
  const { directories, accounts, outside, loginFailures, clock, onResult } = parts;
  const { windowMs, freeFailures } = loginFailures.rules;
  // Keyed hashes only, with a key of this process.
  const hashKey = randomBytes(32);
  const hashOf = (...texts: readonly string[]): string => createHmac("sha256", hashKey).update(JSON.stringify(texts)).digest("base64");
  const memory = createLoginMemory(clock, { wrongForMs: NO_FOR_MS, freeMisses: freeFailures, missesForMs: windowMs });
  const remembered = new LRUCache<string, Remembered>({ max: MAX_ENTRIES });
  /** Names that people signed in with, and when: of these a right password is known. */
  const names = new LRUCache<string, number>({ max: MAX_ENTRIES });
  /** When a password was wrong, by entry, password, and when the entry's was set. */
  const wrong = new LRUCache<string, number>({ max: MAX_ENTRIES });
  /** Why somebody with the right password may not sign in. */
  const refused = new LRUCache<string, { readonly message: string; readonly at: number }>({ max: MAX_ENTRIES });
  const underWay = new Map<string, Promise<SignedIn>>();
  const asked = new Map<string, Promise<Verdict>>();

  const isWithin = (at: number | undefined, ms: number): boolean => {
    const now = clock.now();
    return at !== undefined && now >= at && now - at < ms;
  };

  /** Somebody whose password was right a moment ago. */
  async function recall(key: string, forSeconds: (settings: DirectorySettings) => number): Promise<SignedIn | undefined> {
    const found = remembered.get(key);
    if (found === undefined || !isWithin(found.at, forSeconds(found.directory.settings) * SECOND_MS)) return undefined;
    const account = await accounts.find(found.accountId);
    if (account === undefined || account.epoch !== found.epoch || !isUsable(account, clock.now())) {
      remembered.delete(key);
      return undefined;
    }
    return { account, via: { kind: "ldap", provider: found.directory.name } };
  }

  /** What the directories say, once for all who ask it at a time. */
  function askOnce(key: string, name: string, password: string, remoteAddress: string): Promise<Verdict> {
    let running = asked.get(key);
    if (running === undefined) {
      running = ask(name, password, remoteAddress).finally(() => asked.delete(key));
      asked.set(key, running);
    }
    return running;
  }

  async function ask(name: string, password: string, remoteAddress: string): Promise<Verdict> {
    for (const directory of directories) {
      // The next one is not asked instead of one that is away: who is called so there is somebody else.
      const person = await directory.findByName(name);
      if (person === undefined) continue;
      if (person === "several") return { kind: "unknown", directory, name, reason: "several entries have the name", isNew: true };
      const { name: canonical, subject, passwordStamp = "" } = person;
      // A directory takes several spellings for one name: all of them are guesses at one account.
      const counted = canonical.toLowerCase();
      if (counted !== name) await loginFailures.check(counted, remoteAddress);
      const attempt = hashOf(directory.name, subject, passwordStamp, password);
      const said = { directory, name: counted };
      if (isWithin(wrong.get(attempt), windowMs)) return { kind: "wrong", ...said, reason: "as before", isNew: false };
      if (person.isDisabled) return { kind: "wrong", ...said, reason: "the entry is disabled", isNew: true };
      const bound = await directory.tryPassword(person, password);
      if (!bound.isRight) {
        wrong.set(attempt, clock.now());
        return { kind: "wrong", ...said, reason: `result code ${bound.resultCode}: ${bound.detail}`, isNew: true };
      }
      const { keys } = await directory.findGroups(person);
      return { kind: "right", directory, person, groups: keys };
    }
    return { kind: "unknown", name, reason: "no directory knows the name", isNew: true };
  }

  async function prove(key: string, name: string, password: string, remoteAddress: string): Promise<SignedIn> {
    let verdict: Verdict;
    try {
      verdict = await askOnce(key, name, password, remoteAddress);
    } catch (error) {
      if (!(error instanceof LdapError)) throw error;
      const known = await recall(key, ({ outageMemorySeconds }) => outageMemorySeconds);
      onResult?.(known === undefined ? "unavailable" : "remembered", remembered.get(key)?.directory.name, error.message);
      if (known !== undefined) return known;
      // Whoever makes a directory silent could otherwise try all passwords on what is remembered.
      if (isWithin(names.get(name), MAX_OUTAGE_MEMORY_MS)) await loginFailures.record(name, remoteAddress, password);
      throw directoryUnavailable(error);
    }
    const place = `${name} ${addressGroup(remoteAddress)}`;
    if (verdict.kind !== "right") {
      onResult?.(verdict.kind, verdict.directory?.name, verdict.reason);
      remembered.delete(key);
      memory.noteWrong(key, place);
      if (verdict.isNew) await loginFailures.record(verdict.name, remoteAddress, password);
      else loginFailures.repeat();
      throw new UnauthorizedError({ message: WRONG_PASSWORD });
    }
    const { directory, person, groups } = verdict;
    const via = { kind: "ldap", provider: directory.name } as const;
    const { name: called, subject, email, fullName } = person;
    const identity = {
      kind: "ldap",
      provider: directory.name,
      realm: directory.realm,
      subject,
      name: called,
      email,
      fullName,
      groups,
    } as const;
    // The sign-in has no request of its own: it may be for many at a time.
    const proof = { origin: { requestId: "", address: remoteAddress }, via };
    const result = await outside.signIn(identity, policyOf(directory), proof);
    if (isOutsideRefusal(result)) {
      onResult?.("refused", directory.name, result.message);
      refused.set(key, { message: result.message, at: clock.now() });
      throw new UnauthorizedError({ message: result.message });
    }
    onResult?.("right", directory.name, undefined);
    refused.delete(key);
    memory.noteRight(key, place);
    names.set(name, clock.now());
    remembered.set(key, { accountId: result.id, epoch: result.epoch, directory, at: clock.now() });
    const noted = loginFailures.recordSuccess(result, remoteAddress);
    if (noted instanceof Promise) await noted;
    return { account: result, via };
  }

  return {
    async signIn(typed, password, remoteAddress) {
      const name = loginNameOf(typed);
      if (name === undefined || password === "") throw new UnauthorizedError({ message: WRONG_PASSWORD });
      const key = hashOf(name, password);
      const group = addressGroup(remoteAddress);
      const place = `${name} ${group}`;
      await mayTry({ memory, loginFailures }, { key, place, name, remoteAddress });
      const known = await recall(key, ({ passwordMemorySeconds }) => passwordMemorySeconds);
      if (known !== undefined) {
        onResult?.("remembered", known.via.kind === "ldap" ? known.via.provider : undefined, undefined);
        // From now on also from here.
        memory.noteRight(key, place);
        return known;
      }
      if (memory.wasWrongAt(key, place)) {
        loginFailures.repeat();
        throw new UnauthorizedError({ message: WRONG_PASSWORD });
      }
      const no = refused.get(key);
      if (no !== undefined && isWithin(no.at, NO_FOR_MS)) throw new UnauthorizedError({ message: no.message });
      const work = `${key} ${group}`;
      let running = underWay.get(work);
      if (running === undefined) {
        running = prove(key, name, password, remoteAddress).finally(() => underWay.delete(work));
        underWay.set(work, running);
      }
      return running;
    },
  };
}

/** The refusal of somebody whose password nobody can check now. It has been counted and logged where the directory ceased to answer. */
function directoryUnavailable(cause: LdapError): RegistryError {
  return new RegistryError("DIRECTORY_UNAVAILABLE", {
    message: UNAVAILABLE,
    headers: { "retry-after": String(RETRY_SECONDS) },
    isReported: true,
    cause,
  });
}

/** What directories may be asked for: letters and digits of any language and few signs, in one spelling; undefined for everything else. */
export function loginNameOf(typed: string): string | undefined {
  const name = typed.toLowerCase().normalize("NFC");
  return name === name.normalize("NFKC") && /^[\p{L}\p{N}\p{M}._@$-]{1,128}$/u.test(name) ? name : undefined;
}

/** What the settings say of sign-ins. */
export function policyOf({ settings }: Directory): OutsidePolicy {
  const { administrator, auditor, creator } = settings.roles;
  const managesRoles = administrator !== undefined || auditor !== undefined || creator !== undefined;
  const called = (group: string | undefined): string | undefined => (group === undefined ? undefined : ldapGroupKey(group));
  return {
    createsAccounts: settings.signIn.createsAccounts,
    makesGroups: settings.signIn.makesGroups,
    requiredGroups: settings.signIn.groups.length === 0 ? undefined : settings.signIn.groups.map(ldapGroupKey),
    roles: managesRoles ? { administrator: called(administrator), auditor: called(auditor), creator: called(creator) } : undefined,
  };
}
