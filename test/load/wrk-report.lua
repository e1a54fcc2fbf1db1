-- What wrk sends and prints for the bench: headers and random ranges from the environment, the result as one line of
-- JSON. Started by wrk.ts.
local total = tonumber(os.getenv("BENCH_RANGE_TOTAL"))
local length = tonumber(os.getenv("BENCH_RANGE_LENGTH"))
wrk.headers["Authorization"] = os.getenv("BENCH_AUTHORIZATION")
wrk.headers["Accept"] = os.getenv("BENCH_ACCEPT")

if total then
  request = function()
    local from = math.random(0, total - length)
    wrk.headers["Range"] = "bytes=" .. from .. "-" .. (from + length - 1)
    return wrk.format()
  end
end

done = function(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\nBENCH {"requests":%d,"bytes":%.0f,"microseconds":%d,"p50":%d,"p99":%d,"cpuSeconds":%f,"errors":%d}\n',
    summary.requests, summary.bytes, summary.duration, latency:percentile(50), latency:percentile(99), os.clock(),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
