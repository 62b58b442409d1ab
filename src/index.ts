// Deployed objects belong to the class by the name that wrangler.toml gives it.
export { ChannelObject as Channel } from "./channel/channel-object.ts";
export { app as default } from "./http/app.ts";
