// Settings of sign-in by directories (LDAP, Active Directory). Not here: what is done with them (directory.ts), how settings are read
// (config-load.ts).
import { attributeName, entryName, ldapAddresses, ldapFilter, separated } from "../../config-directories.ts";
import { flag, integer, mapOf, oneOf, optional, path, required, seconds, secret, text } from "../../config-kinds.ts";

const directory = {
  urls: required(
    ldapAddresses("Its servers, asked in this order. ldap:// is encrypted with StartTLS before anything is said, unless plain is set."),
  ),
  plain: flag({
    standard: "false",
    about:
      "Whether ldap:// is spoken without encryption: anybody on the way then reads all passwords. For tests, and for servers on this very machine.",
  }),
  caFile: optional(path({ about: "PEM file of the authorities that its servers' certificates are of. Empty: the system's." })),
  bindDn: optional(
    text({
      about: "The account that searches, as a DN, or as Active Directory takes it (reader@example.org). Empty: searches are anonymous.",
    }),
  ),
  bindPassword: secret({ about: "Its password." }),
  users: {
    base: required(entryName("Where people are: below this entry.")),
    filter: ldapFilter({ standard: "(objectClass=person)", about: "Which entries are people." }),
    nameAttribute: attributeName({ standard: "uid", about: "What people type as their name: uid, sAMAccountName, mail." }),
    idAttribute: attributeName({
      standard: "entryUUID",
      about:
        "What an entry keeps when it is renamed, and no later one gets: entryUUID (OpenLDAP), objectGUID (Active Directory), ipaUniqueID (FreeIPA). dn: its name, which a later one may get.",
    }),
    emailAttribute: attributeName({ standard: "mail", about: "Their e-mail address." }),
    fullNameAttribute: attributeName({ standard: "cn", about: "What they are called." }),
  },
  groups: {
    from: oneOf(["members", "memberOf", "chain"], {
      standard: "members",
      about:
        "How groups are found: by their members (members), by what people's entries say (memberOf), or with all nested ones by one search, which only Active Directory can do (chain).",
    }),
    base: optional(entryName("Where groups are: below this entry. Empty: nobody is in any, unless memberOf says so.")),
    filter: ldapFilter({ standard: "(objectClass=*)", about: "Which entries are groups." }),
    memberAttribute: attributeName({ standard: "member", about: "What has a group's members: member, uniqueMember, memberUid." }),
    memberIs: oneOf(["dn", "name"], {
      standard: "dn",
      about: "What members are called there: by DN, or by what they type as their name (memberUid).",
    }),
    depth: integer({ standard: "10", min: 0, max: 32, about: "How deep groups in groups are followed. 0: not at all." }),
    calledBy: oneOf(["dn", "name"], {
      standard: "dn",
      about:
        "What groups are called here: by DN, or by nameAttribute alone, which somebody may give to another group elsewhere below the base.",
    }),
    nameAttribute: attributeName({ standard: "cn", about: "The names of groups." }),
  },
  signIn: {
    groups: separated("Only who is in one of these groups signs in. Empty: everybody.", {
      kind: "names of groups, separated by semicolons",
      separator: ";",
      isRight: (value) => value.length <= 512,
    }),
    createsAccounts: flag({ standard: "true", about: "Whether somebody who was never here gets an account at the first sign-in." }),
    makesGroups: flag({
      standard: "false",
      about: "Whether groups that are not here yet are made at sign-in. Else only those count that an administrator made.",
    }),
  },
  roles: {
    administrator: optional(
      text({
        about: "The group whose members are administrators. Where one of these three is set, the directory alone says what its people are.",
      }),
    ),
    auditor: optional(text({ about: "The group whose members are auditors." })),
    creator: optional(text({ about: "The group whose members may create projects." })),
  },
  passwordMemorySeconds: seconds({
    standard: "2m",
    min: "0s",
    max: "1h",
    about: "For how long a password that the directory took counts without asking again. What is kept is a keyed hash, in memory.",
  }),
  outageMemorySeconds: seconds({
    standard: "15m",
    min: "0s",
    max: "24h",
    about: "The same while the directory does not answer.",
  }),
  refreshSeconds: seconds({
    standard: "15m",
    min: "1m",
    max: "24h",
    about:
      "How often everybody who has a token or a session is looked up again: groups are taken over, and who is gone or disabled loses groups, tokens and sessions.",
  }),
  connectTimeoutSeconds: seconds({ standard: "5s", min: "1s", max: "60s", about: "How long connecting to a server may take." }),
  answerTimeoutSeconds: seconds({ standard: "10s", min: "1s", max: "60s", about: "How long each answer may take." }),
  connections: integer({ standard: "4", min: 1, max: 100, about: "Connections at once: so many for searches, and as many for passwords." }),
};

export const ldapSettings = mapOf(directory, {
  about: "Directories (LDAP, Active Directory) whose people sign in with their passwords there, asked in the order of their names.",
});
