// Deployed objects belong to the class name in wrangler.toml, so it must not change.
export { ChannelObject as Channel } from "./channel/channel-object.ts";
export { app as default } from "./http/app.ts";
