// Settings of the server that clients notice. Not here: what a request may cost (distribution/distribution-settings.ts), how settings are
// read.
import { exactNetworks, integer, listenAddress, networks, optional, origin, path, seconds, sizeBytes } from "../config-kinds.ts";

export const httpSettings = {
  listen: listenAddress({
    standard: "127.0.0.1:5000",
    alias: "listen",
    about: "Where to listen. Only this machine by default: open it to others once TLS or a proxy with TLS is in place.",
  }),
  adminListen: optional(
    listenAddress({
      about:
        "Where to listen for administration: /api/v1, sign-in of people, and /metrics. http.listen then serves pulls and pushes only, with /token and /oauth/token; each refuses what is the other's. Empty: http.listen serves all.",
    }),
  ),
  publicUrl: optional(origin({ about: "The address that clients use. Empty: taken from each request's Host header." })),
  tls: {
    certificateFile: optional(path({ about: "PEM file with the certificate and its chain. Read again when it changes." })),
    keyFile: optional(path({ about: "PEM file with the certificate's private key. Read again when it changes." })),
  },
  trustedProxies: networks({
    about: "Networks of proxies whose X-Forwarded-For, -Proto and -Host are believed. Empty: nobody's are.",
  }),
  allowedNetworks: exactNetworks({
    about:
      "Networks and addresses from which anybody may use the registry. Empty: from everywhere. Health checks are answered to all. The address counts that http.trustedProxies lets count.",
  }),
  deniedNetworks: exactNetworks({
    about: "Networks and addresses from which nobody may use the registry, also where http.allowedNetworks has them.",
  }),
  shutdownGraceSeconds: seconds({
    standard: "20s",
    min: "0s",
    max: "1h",
    about: "How long running requests may take to end after a stop signal. Less than the 30s after which Kubernetes kills.",
  }),
  headerTimeoutSeconds: seconds({
    standard: "20s",
    min: "1s",
    max: "10m",
    about:
      "How long a client may take for a TLS handshake, to send a request's headers, and to send the rest of a body that was refused. Frees connections that slow or hostile clients hold.",
  }),
  bodyIdleTimeoutSeconds: seconds({
    standard: "5m",
    min: "1s",
    max: "1h",
    about:
      "How long a request body or a download may pause: proxies that scan for viruses hold bodies for minutes. There is no limit on its whole time: a large layer on a slow line may take hours.",
  }),
  minimumUploadBytesPerSecond: sizeBytes({
    standard: "4KiB",
    min: "0",
    max: "100MiB",
    about:
      "How fast an upload has to come, over ten seconds, while others wait for its place (limits.concurrentUploads); a slower one is ended with REQUEST_TIMEOUT. Thirty uploads at a time share a line of 1 Mbit/s at this. 0: none has to.",
  }),
  minimumDownloadBytesPerSecond: sizeBytes({
    standard: "4KiB",
    min: "0",
    max: "100MiB",
    about:
      "How fast a client has to take an answer, over ten seconds, while others wait for its place (limits.requestsInFlight); a slower one is cut off, and can go on by range. 0: none has to.",
  }),
  keepAliveSeconds: seconds({
    standard: "75s",
    min: "1s",
    max: "1h",
    about: "How long an idle connection stays open. Longer than the usual 60s of load balancers, so that they close first.",
  }),
  maxConnections: integer({
    standard: "10000",
    min: 1,
    max: 1_000_000,
    about: "Open connections at a time; further ones are dropped. An idle one costs about 20 KiB, so the default is 200 MB at worst.",
  }),
};
