// When a request to the S3 service is retried: by the SDK's own rules (which errors, how often, after which pause), until a deadline. Not
// here: the timeout of one attempt (s3-client.ts).
import type { S3ClientConfig } from "@aws-sdk/client-s3";

type RetryStrategy = Extract<
  Exclude<S3ClientConfig["retryStrategy"], undefined>,
  { refreshRetryTokenForRetry: unknown; recordSuccess: unknown }
>;
type AnyStrategy = Exclude<S3ClientConfig["retryStrategy"], undefined>;

/** The same rules, but no attempt begins once `deadlineMs` have passed since the first one began. */
export function withDeadline(strategy: AnyStrategy, deadlineMs: number): RetryStrategy {
  if (!("refreshRetryTokenForRetry" in strategy)) throw new Error("the SDK's retries are not what they were");
  const startedAt = new WeakMap<object, number>();
  return {
    async acquireInitialRetryToken(scope) {
      const token = await strategy.acquireInitialRetryToken(scope);
      startedAt.set(token, performance.now());
      return token;
    },
    async refreshRetryTokenForRetry(token, error) {
      const began = startedAt.get(token) ?? 0;
      if (performance.now() - began > deadlineMs) throw new Error("the deadline has passed");
      const next = await strategy.refreshRetryTokenForRetry(token, error);
      startedAt.set(next, began);
      return next;
    },
    recordSuccess: (token) => strategy.recordSuccess(token),
  };
}
