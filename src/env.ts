import type { ChannelEnv, ChannelObject } from "./channel/channel-object.ts";

/** The bindings that wrangler.toml declares. */
export interface Env extends ChannelEnv {
  CHANNELS: DurableObjectNamespace<ChannelObject>;
  ASSETS: Fetcher;
  /** Limits the requests per address, except those with an API key. */
  RATE_LIMITER: RateLimit;
  /** The API keys, comma-separated. */
  API_KEYS?: string;
  /** The `{canonical}` for which `/rt/{canonical}` is served; empty for any. */
  REALTIME_CANONICAL?: string;
  /**
   * The origins whose pages may use this server, in addition to its own, comma-separated (`https://app.example.com`);
   * `*` for all.
   */
  ALLOWED_ORIGINS?: string;
  /**
   * Hosts at which a development server answers, comma-separated, in addition to `localhost` and IP addresses. Such a
   * server also allows pages of this machine, on any port. Only `npm start` sets this variable; a deployment must not
   * have it.
   */
  LOCAL_HOSTS?: string;
}
