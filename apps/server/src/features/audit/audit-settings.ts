// Settings of the audit log. Not here: how settings are read (config-load.ts).
import { flag, httpUrl, integer, optional, path, secret, text } from "../../config-kinds.ts";

export const auditSettings = {
  forward: {
    syslog: optional(
      text({
        pattern: /^(?:tcp|tls):\/\/(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+\]):\d{1,5}$/,
        wanted: "an address such as tls://logs.example.com:6514 or tcp://127.0.0.1:601",
        about:
          "A syslog server that gets every record, in the form of RFC 5424 with lengths in front. tls:// believes the system's authorities and outbound.caFile. Empty: none.",
      }),
    ),
    file: optional(
      path({ about: "A file on the machine that works on jobs, to which every record is appended as a line of JSON. Empty: none." }),
    ),
    http: optional(
      httpUrl({
        about:
          "An endpoint that gets every record as lines of JSON by POST (application/x-ndjson) and says 2xx when it has them. Empty: none.",
      }),
    ),
    httpAuthorization: secret({ about: "What is sent to audit.forward.http as Authorization, such as `Bearer …`." }),
  },
  keepDays: integer({
    standard: "0",
    min: 0,
    max: 36_500,
    about: "How many days records are kept at least. They go by whole segments, whose signed headers stay. 0: for ever.",
  }),
  pulls: flag({ standard: "true", about: "Whether pulls are put on record: one row for each client, reference and second." }),
};
