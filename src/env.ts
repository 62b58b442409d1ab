import type { Channel } from "./channel/channel.ts";

/** The bindings that wrangler.toml declares. */
export interface Env {
  DB: D1Database;
  CHANNELS: DurableObjectNamespace<Channel>;
  ASSETS: Fetcher;
  /** Limits the requests of each address, but for the server side's. */
  STRANGERS: RateLimit;
  /** Takes numbers about the running of it, where the deployment wants them (docs/operating.md). */
  METRICS?: AnalyticsEngineDataset;
  /** Comma-separated. */
  API_KEYS?: string;
  /** The only `{canonical}` that `/rt/{canonical}` answers; empty for any. */
  REALTIME_CANONICAL?: string;
  /** Comma-separated: the origins whose pages may use this server, beside its own (`https://app.example.com`); `*` for all. */
  ALLOWED_ORIGINS?: string;
  /**
   * Set by `npm start` only: this is a development server, which answers at `localhost`, at IP addresses and at these hosts,
   * comma-separated. A deployment has no such variable.
   */
  LOCAL_HOSTS?: string;
}
