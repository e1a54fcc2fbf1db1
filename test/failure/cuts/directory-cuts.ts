// Safety lines of directories: who becomes which account, what is asked of them, and what an outage takes. Not here: what a cut is, and the others
// (cuts.ts).
import type { Cut } from "./cuts.ts";

const SERVER = "apps/server/src";
const LOGIN = `${SERVER}/access/ldap/directory-login.ts`;
const LOGIN_TEST = `${SERVER}/access/ldap/directory-login.test.ts`;

/** All of them. */
export const DIRECTORY_CUTS: readonly Cut[] = [
  {
    invariant: 23,
    what: "an account with a password here is nobody's in a directory",
    file: `${SERVER}/access/authenticate.ts`,
    from: "      if (local?.secretHash === undefined) {",
    to: "      if (local !== null) {",
    test: "test/flows/ldap-sign-in.test.ts",
    name: "leaves accounts with a password here alone",
  },
  {
    invariant: 23,
    what: "an empty password is never brought to a directory, which grants it to everybody",
    file: LOGIN,
    from: ' || password === "")',
    to: ")",
    test: LOGIN_TEST,
    name: "none that is empty",
  },
  {
    invariant: 23,
    what: "a name that several entries have is nobody's",
    file: LOGIN,
    from: 'if (person === "several")',
    to: 'if (person === ("" as never))',
    test: LOGIN_TEST,
    name: "does not go on to the next directory",
  },
  {
    invariant: 23,
    what: "a wrong password is tried once, so that nobody is locked out of the directory",
    file: LOGIN,
    from: "        wrong.set(attempt, clock.now());\n",
    to: "",
    test: LOGIN_TEST,
    name: "tries a wrong password once",
  },
  {
    invariant: 23,
    what: "an entry that says that it is disabled signs nobody in",
    file: LOGIN,
    from: "      if (person.isDisabled) ",
    to: "      if (name === undefined) ",
    test: LOGIN_TEST,
    name: "tries no password of an entry that is disabled",
  },
  {
    invariant: 23,
    what: "a remembered password ends with the account's epoch",
    file: LOGIN,
    from: "account.epoch !== found.epoch || ",
    to: "",
    test: LOGIN_TEST,
    name: "remembers a right password for a while",
  },
  {
    invariant: 23,
    what: "guesses count while a directory is away, also if somebody keeps it away",
    file: LOGIN,
    from: "      if (isWithin(names.get(name), MAX_OUTAGE_MEMORY_MS)) await loginFailures.record(name, remoteAddress, password);\n",
    to: "",
    test: LOGIN_TEST,
    name: "counts guesses at who is remembered",
  },
  {
    invariant: 23,
    what: "nothing that came before the encryption is taken for an answer behind it",
    file: `${SERVER}/platform/ldap/ldap-socket.ts`,
    from: '    if (received.length > header.end) throw new Error("it sends more than its answer before the connection is encrypted");\n',
    to: "",
    test: `${SERVER}/platform/ldap/ldap-socket.test.ts`,
    name: "takes nothing that came with the answer",
  },
  {
    invariant: 23,
    what: "who is gone from a directory loses what they had by it",
    file: `${SERVER}/access/ldap/directory-refresh.ts`,
    from: "gone.push(subject);",
    to: "continue;",
    test: "test/flows/ldap-sign-in.test.ts",
    name: "from who is gone or disabled there",
  },
];
