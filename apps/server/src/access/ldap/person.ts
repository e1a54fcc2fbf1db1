// Somebody in a directory, and what the settings say of it: the types that the files of this folder share. Not here: asking (directory.ts).
import type { ValuesOf } from "../../config.ts";
import type { LdapEntry } from "../../platform/ldap/ldap-connection.ts";
import type { ldapSettings } from "./ldap-settings.ts";

/** The settings of one directory. */
export type DirectorySettings = ValuesOf<typeof ldapSettings>[string];

/** Somebody in a directory. */
export interface Person {
  /** As the directory writes it. */
  readonly dn: string;
  /** What no other entry ever has: the attribute's name, and its value. */
  readonly subject: string;
  /** As the directory has it. */
  readonly name: string;
  readonly email: string | undefined;
  readonly fullName: string | undefined;
  /** What changes with the password, if the directory shows it; undefined where it does not. */
  readonly passwordStamp: string | undefined;
  /** Whether the entry itself says that the person may not sign in. */
  readonly isDisabled: boolean;
  readonly entry: LdapEntry;
}
