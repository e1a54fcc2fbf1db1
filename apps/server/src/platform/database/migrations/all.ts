// The list of migrations. A released step is never changed: add another. Steps run in the order of their ids, whatever their order here.
import type { Migration } from "./migration.ts";
import { core } from "./0001-core.ts";
import { access } from "./0002-access.ts";
import { scale } from "./0003-scale.ts";
import { usage } from "./0004-usage.ts";
import { usageFill } from "./0005-usage-fill.ts";
import { collection } from "./0006-collection.ts";
import { damage } from "./0007-damage.ts";
import { checks } from "./0008-checks.ts";
import { loginPlaces } from "./0009-login-places.ts";
import { jobs } from "./0010-jobs.ts";
import { edgesVersion } from "./0011-edges-version.ts";
import { olderManifests } from "./0012-older-manifests.ts";
import { outbox } from "./0013-outbox.ts";
import { pulls } from "./0014-pulls.ts";
import { projectTraits } from "./0015-project-traits.ts";
import { settingsRunTime } from "./20261126024500-settings-run-time.ts";
import { people } from "./20261126070000-access-people.ts";
import { tagIndexes } from "./20261126070501-content-tag-indexes.ts";
import { tagOrder } from "./20261126070500-content-tag-order.ts";
import { collectionBacklog } from "./20261126071000-content-collection-backlog.ts";
import { projectProfiles } from "./20261126075300-projects-profiles.ts";
import { signIn } from "./20261126110500-access-sign-in.ts";
import { outsideIdentities } from "./20261126104500-access-outside-identities.ts";
import { deletionPlans } from "./20261126073000-deletions-plans.ts";
import { audit } from "./20261126074731-audit-log.ts";
import { accessCredentials } from "./20261126071500-access-credentials.ts";
import { noPassword } from "./20261126021300-access-no-password.ts";
import { trustRules } from "./20261126071043-access-trust-rules.ts";
import { auditForward } from "./20261126115000-audit-forward.ts";
import { accountNetworks } from "./20261126105000-access-account-networks.ts";
import { webhooks } from "./20261126073500-webhooks-tables.ts";

export const migrations: readonly Migration[] = [
  core,
  access,
  scale,
  usage,
  usageFill,
  collection,
  damage,
  checks,
  loginPlaces,
  jobs,
  edgesVersion,
  olderManifests,
  outbox,
  pulls,
  projectTraits,
  noPassword,
  settingsRunTime,
  people,
  tagOrder,
  tagIndexes,
  collectionBacklog,
  trustRules,
  deletionPlans,
  audit,
  accessCredentials,
  webhooks,
  projectProfiles,
  outsideIdentities,
  signIn,
  accountNetworks,
  auditForward,
];

/**
 * The database versions of the releases, oldest first: `migrate --to` takes these besides this program's own. A release adds its own here.
 */
export const RELEASED: readonly { readonly release: string; readonly version: number }[] = [{ release: "0.1.0", version: 3 }];
