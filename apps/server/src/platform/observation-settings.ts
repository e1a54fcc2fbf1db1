// Settings of observability: the log, metrics, traces. Not here: how settings are read (config-load.ts).
import { httpUrl, listenAddress, oneOf, optional, ratio, secret, text } from "../config-kinds.ts";

export const logSettings = {
  level: oneOf(["fatal", "error", "warn", "info", "debug", "trace", "silent"], { standard: "info", about: "The least that is logged." }),
  format: oneOf(["auto", "json", "pretty"], { standard: "auto", about: "`auto` is pretty on a terminal and json elsewhere." }),
  requests: oneOf(["none", "changes", "all"], {
    standard: "changes",
    about:
      "Which requests get a line, with account, address, repository, status, bytes and time. `changes`: writes and refused logins; `all`: every request, which is an access log.",
  }),
};

export const metricsSettings = {
  listen: optional(
    listenAddress({
      about:
        "A port of its own for /metrics, open to whoever reaches it, such as 127.0.0.1:9090. Empty: /metrics on the main port, for administrators only.",
    }),
  ),
  tag: optional(
    text({
      pattern: /^[\w.:/-]{1,64}$/,
      wanted: "up to 64 letters, digits and ._:/-",
      about: "Put on every metric as the label `tag`, to tell installations apart.",
    }),
  ),
};

export const tracingSettings = {
  endpoint: optional(
    httpUrl({
      standardVariable: "OTEL_EXPORTER_OTLP_ENDPOINT",
      about:
        "A collector that takes OpenTelemetry's traces (OTLP over HTTP, protobuf), such as http://collector:4318; they go to /v1/traces below it. Empty: no traces.",
    }),
  ),
  headers: secret({
    about: "Headers for the collector, such as credentials: name=value,name2=value2, values percent-encoded.",
  }),
  sampleRatio: ratio({
    standard: "0.01",
    standardVariable: "OTEL_TRACES_SAMPLER_ARG",
    about: "Which part of the traces that begin here is kept. A client that sends a traceparent has decided already.",
  }),
  serviceName: text({
    standard: "berth",
    standardVariable: "OTEL_SERVICE_NAME",
    pattern: /^[\w.:/-]{1,128}$/,
    wanted: "up to 128 letters, digits and ._:/-",
    about: "The service's name in traces.",
  }),
};
