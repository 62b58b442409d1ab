/**
 * This project without the rate limit of anonymous clients. On Cloudflare the limit is a counter on the machine. Miniflare
 * emulates it with another Worker, which takes about a millisecond per call and would distort the figures.
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
