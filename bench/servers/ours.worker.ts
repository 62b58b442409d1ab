/**
 * This project as it is, but for the rate limit of strangers: on Cloudflare that is a counter of the machine itself, while
 * Miniflare emulates it by a Worker of its own, at about a millisecond a call, which says nothing of either.
 */
import worker, { Channel } from "../../src/index.ts";
import type { Env } from "../../src/env.ts";

export { Channel };

const RATE_LIMITER: RateLimit = { limit: async () => ({ success: true }) };
let bindings: Env | undefined;

export default {
  fetch(request, env, ctx) {
    bindings ??= { ...env, RATE_LIMITER };
    return worker.fetch(request, bindings, ctx);
  },
} satisfies ExportedHandler<Env>;
