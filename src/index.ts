export { Channel } from "./channel/channel.ts";
export { app as default } from "./http/app.ts";
