import { FRAME_CHANNEL } from "./examples.ts";
import { HEARTBEAT_REQUEST, HEARTBEAT_RESPONSE } from "../protocol/heartbeat.ts";
import { refTo, schemasOf } from "./components.ts";
import { type Frame, FRAMES } from "./messages.ts";
import { canonical, channel } from "./operation.ts";
import { SHARED } from "./schemas.ts";

const heartbeat = (text: string, title: string, summary: string) => ({
  title,
  summary,
  contentType: "text/plain",
  payload: { type: "string", const: text },
  examples: [{ payload: text }],
});

/**
 * Returns the description of the sockets' frames as an AsyncAPI 3 document
 * (https://www.asyncapi.com/docs/reference/specification/v3.0.0).
 */
export function asyncapi(version: string): object {
  const schemas = schemasOf({
    ...SHARED,
    ...Object.fromEntries(
      Object.entries(FRAMES).map(([name, { schema, description, fields }]) => [
        `${name}Frame`,
        { schema, description, fields },
      ]),
    ),
  });
  return {
    asyncapi: "3.0.0",
    info: {
      title: "durable-channels: sockets",
      version,
      description:
        "Each frame is one JSON object in one text message. A client may also send an array of 1 to 100 frames in one text message. `/openapi.json` describes the upgrade requests and their errors. PROTOCOL.md has all rules.",
      license: { name: "MIT" },
    },
    defaultContentType: "application/json",
    channels: {
      channel: socket(
        "/channels/{channel}/socket",
        "A socket to one channel. With `?frames=batch`, each text message from the server is a JSON array of these frames.",
        {
          channel: {
            description: channel.description,
            examples: [FRAME_CHANNEL],
          },
        },
      ),
      shared: socket("/socket", "A socket for many channels. Each frame names its channel.", {}),
      multiplexed: socket("/rt/{canonical}", "A socket for many channels. Each frame names its channel.", {
        canonical: { description: canonical.description },
      }),
    },
    operations: Object.fromEntries(["channel", "shared", "multiplexed"].flatMap(operationsOn)),
    components: { messages: messages(), schemas },
  };
}

function messages(): Record<string, object> {
  const json = Object.entries(FRAMES).map(([name, { title, description, example }]) => {
    return [name, { title, summary: description, payload: refTo(`${name}Frame`), examples: [{ payload: example }] }];
  });
  return {
    ...Object.fromEntries(json),
    Heartbeat: heartbeat(
      HEARTBEAT_REQUEST,
      "A heartbeat",
      "Sent every 30 seconds, and only after the answer to the previous one.",
    ),
    HeartbeatAnswer: heartbeat(
      HEARTBEAT_RESPONSE,
      "The answer to a heartbeat",
      "Sent after everything that the server sent before.",
    ),
  };
}

function socket(address: string, description: string, parameters: object): object {
  const names = Object.keys(messages());
  return {
    address,
    description,
    parameters,
    messages: Object.fromEntries(names.map((name) => [name, { $ref: `#/components/messages/${name}` }])),
    bindings: { ws: { method: "GET", headers: HEADERS, bindingVersion: "0.1.0" } },
  };
}

const HEADERS = {
  type: "object",
  properties: {
    Authorization: { type: "string", description: "`Bearer` and an API key or a token." },
    "Sec-WebSocket-Protocol": {
      type: "string",
      description: "`durable-channels.v1`, a credential, or both. Browsers cannot send a credential in any other way.",
    },
  },
};

/**
 * Returns the operations on a channel of the document: the frames that the server receives, and those that it sends.
 */
function operationsOn(name: string): [string, object][] {
  const carried = Object.entries(FRAMES).filter(([, frame]) => name !== "channel" || !frame.isMultiplexedOnly);
  const sentBy = (from: Frame["from"]) =>
    carried.flatMap(([frame, described]) => (described.from === from ? frame : []));
  const operation = (action: "send" | "receive", names: string[]) => ({
    action,
    channel: { $ref: `#/channels/${name}` },
    messages: names.map((frame) => ({ $ref: `#/channels/${name}/messages/${frame}` })),
  });
  return [
    [`${name}.receive`, operation("receive", [...sentBy("client"), "Heartbeat"])],
    [`${name}.send`, operation("send", [...sentBy("server"), "HeartbeatAnswer"])],
  ];
}
