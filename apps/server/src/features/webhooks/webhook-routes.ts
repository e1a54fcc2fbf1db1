// The operations on webhooks, joined to their rules. Not here: the rules (webhooks.ts).
import { addressOf } from "@berth/api/operation";
import { projectWebhooks, registryWebhooks } from "@berth/api/webhooks";
import { type ApiRoute, route, withHeaders } from "../api-route.ts";
import type { Webhooks } from "./webhooks.ts";

/** The routes of webhooks, of projects and of the registry. */
export function webhookRoutes(webhooks: Webhooks): ApiRoute[] {
  return [
    route(projectWebhooks.list, ({ query }, { grant }) => webhooks.list(grant, query)),
    route(projectWebhooks.create, async ({ params: { project }, body }, { grant }) => {
      const made = await webhooks.create(grant, body);
      return withHeaders(made, { location: addressOf(projectWebhooks.get, { project, webhook: made.name }) });
    }),
    route(registryWebhooks.list, ({ query }, { grant }) => webhooks.list(grant, query)),
    route(registryWebhooks.create, async ({ body }, { grant }) => {
      const made = await webhooks.create(grant, body);
      return withHeaders(made, { location: addressOf(registryWebhooks.get, { webhook: made.name }) });
    }),
    ...[projectWebhooks, registryWebhooks].flatMap((operations) => [
      route(operations.get, ({ params }, { grant }) => webhooks.get(grant, params.webhook)),
      route(operations.update, ({ params, body }, { grant }) => webhooks.update(grant, params.webhook, body)),
      route(operations.delete, async ({ params }, { grant }) => {
        await webhooks.delete(grant, params.webhook);
        return undefined;
      }),
      route(operations.rotateSecret, ({ params }, { grant }) => webhooks.rotateSecret(grant, params.webhook)),
      route(operations.test, ({ params }, { grant }) => webhooks.test(grant, params.webhook)),
      route(operations.listDeliveries, ({ params, query }, { grant }) => webhooks.listDeliveries(grant, params.webhook, query)),
      route(operations.getDelivery, ({ params }, { grant }) => webhooks.getDelivery(grant, params.webhook, params.delivery)),
      route(operations.redeliver, ({ params }, { grant }) => webhooks.redeliver(grant, params.webhook, params.delivery)),
    ]),
  ];
}
