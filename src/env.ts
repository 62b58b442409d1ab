import type { Channel } from "./channel/channel.ts";

/** The bindings that wrangler.toml declares. */
export interface Env {
  DB: D1Database;
  CHANNELS: DurableObjectNamespace<Channel>;
  ASSETS: Fetcher;
  /** Comma-separated. */
  API_KEYS?: string;
}
