// The outbox: changes that other parts react to. Not here: its content (events/outbox.ts).
import type { Migration } from "./migration.ts";

export const outbox: Migration = {
  id: 13,
  name: "outbox",
  oldestProgram: 3,
  up: ({ id, integer, text }) => [
    `create table outbox (
      id ${id},
      at ${integer} not null,
      actor ${text} not null,
      change ${text} not null
    )`,
  ],
  // Today every recorded change only makes upkeep run sooner. The first one that does more makes `outbox` content.
  loses: { what: "changes that wait; what follows from them is asked for anew", content: [] },
  down: () => [`drop table outbox`],
};
