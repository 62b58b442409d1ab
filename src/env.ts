import type { ChannelEnv, ChannelObject } from "./channel/channel-object.ts";

/** The bindings that wrangler.toml declares. */
export interface Env extends ChannelEnv {
  CHANNELS: DurableObjectNamespace<ChannelObject>;
  ASSETS: Fetcher;
  /** Limits the requests of each address, except those with an API key. */
  RATE_LIMITER: RateLimit;
  /** Comma-separated. */
  API_KEYS?: string;
  /** The only `{canonical}` that `/rt/{canonical}` answers; empty for any. */
  REALTIME_CANONICAL?: string;
  /** Comma-separated: the origins whose pages may use this server, beside its own (`https://app.example.com`); `*` for all. */
  ALLOWED_ORIGINS?: string;
  /**
   * Set by `npm start` only: this is a development server, which answers at `localhost`, at IP addresses and at these hosts,
   * comma-separated, and to pages of this machine, whatever their port. A deployment has no such variable.
   */
  LOCAL_HOSTS?: string;
}
