import { ClientFrame } from "../protocol/client-frame.ts";
import { type Component, component } from "./components.ts";
import { CLIENT, EVENT_FRAME, FRAME_CHANNEL } from "./examples.ts";
import * as frames from "./frames.ts";

const [Join, Leave, Message, History, SetPresence, Publish] = ClientFrame.options;

/** A frame: its sender, its schema, and an example. */
export interface Frame extends Component {
  from: "client" | "server";
  title: string;
  example: unknown;
  /** The frame is only sent over multiplexed sockets. */
  isMultiplexedOnly?: true;
}

function frame(from: Frame["from"], title: string, described: Component, example: unknown): Frame {
  return { from, title, ...described, example };
}

const ACTION = "The kind of frame.";
const PAYLOAD = "The message: any JSON value.";
const WHERE = "The channel, and for stored messages the position.";
const onChannel = { channel: FRAME_CHANNEL };

/** Every frame that is sent over a socket, by its name in the document. */
export const FRAMES: Record<string, Frame> = {
  Join: frame(
    "client",
    "Join a channel",
    component(
      Join,
      "Joins a channel, so that its messages are delivered. With `options.after`, the last `seq` that the client has, the messages after it are sent first.",
      {
        action: ACTION,
        options: "`channel` may be left out on a channel's own socket.",
        payload: "Whether to send the latest history, and presence.",
      },
    ),
    { action: "join", options: { ...onChannel, after: 0 }, payload: { history: true, presence: true } },
  ),
  Leave: frame(
    "client",
    "Leave a channel",
    component(Leave, "Ends the delivery of the channel's messages. The connection stays open.", {
      action: ACTION,
      options: "The channel.",
      payload: "Empty.",
    }),
    { action: "leave", options: onChannel },
  ),
  Message: frame(
    "client",
    "Send a message",
    component(Message, "Sends a message to all subscribers, to authenticated clients only, or to one client.", {
      action: ACTION,
      options:
        "With `authenticated`, only authenticated clients get the message. With `socketId` or `user`, only that client or user gets it, and it is not stored. With `ephemeral`, it is not stored either. With `id`, the server acknowledges it, and stores it once however often it is sent.",
      payload: PAYLOAD,
    }),
    { action: "message", options: { ...onChannel, authenticated: true }, payload: { text: "I can do this all day." } },
  ),
  History: frame(
    "client",
    "Ask for history",
    component(History, "Requests the latest messages, as many as the channel's settings allow.", {
      action: ACTION,
      options: "The channel.",
      payload: "Empty.",
    }),
    { action: "history", options: onChannel },
  ),
  SetPresence: frame(
    "client",
    "Set presence state",
    component(SetPresence, "Sets the state that other clients see in presence. Only for a client that has joined.", {
      action: ACTION,
      options: "The channel.",
      payload: "The state: a JSON object of at most 1,024 bytes. It replaces the previous state.",
    }),
    { action: "presence", options: { ...onChannel, id: "52d8c4e1f0" }, payload: { name: "Carol", typing: true } },
  ),
  Publish: frame(
    "client",
    "Publish an event",
    component(Publish, "Publishes an event, as `POST /message` does. Only for API-key clients. Needs no `join`.", {
      action: ACTION,
      options: "The same fields as in the body of `POST /message`. With `id`, the server acknowledges it.",
      payload: PAYLOAD,
    }),
    {
      action: "event",
      options: { ...onChannel, id: "7f0e6c1b2a", type: "roll-call" },
      payload: { text: "Avengers, assemble!" },
    },
  ),
  Event: frame(
    "server",
    "An event",
    component(
      frames.EventFrame,
      "A message that was published over HTTP. An event without `client` is from an API-key client.",
      {
        action: ACTION,
        client: "The client to which it is attributed, if any.",
        options: WHERE,
        payload: PAYLOAD,
      },
    ),
    EVENT_FRAME,
  ),
  ClientMessage: frame(
    "server",
    "A client's message",
    component(frames.MessageFrame, "A message that a client sent to the channel.", {
      action: ACTION,
      client: "The sender.",
      options: WHERE,
      payload: PAYLOAD,
    }),
    { ...EVENT_FRAME, action: "message", client: CLIENT },
  ),
  PrivateMessage: frame(
    "server",
    "A private message",
    component(frames.PrivateFrame, "A message to this client or this user only. It is not stored, and has no `seq`.", {
      action: ACTION,
      client: "The sender. An event from an API-key client that named no `sender` has none.",
      options: "The channel, and the recipient: a `socketId`, or a `user`.",
      payload: PAYLOAD,
    }),
    {
      action: "message",
      client: CLIENT,
      options: { ...onChannel, socketId: "3d0f6a52-93b1-4c1e-8a53-0b7e9d1c2f4a" },
      payload: "psst",
    },
  ),
  Ephemeral: frame(
    "server",
    "An ephemeral message",
    component(frames.EphemeralFrame, "A message that is not stored, and has no `seq`.", {
      action: ACTION,
      client: "The sender. An event from an API-key client that named no `sender` has none.",
      options: "The channel, and the message's `type`, if it has one.",
      payload: PAYLOAD,
    }),
    {
      action: "message",
      client: CLIENT,
      options: { ...onChannel, ephemeral: true, type: "typing" },
      payload: { typing: true },
    },
  ),
  Ack: frame(
    "server",
    "An acknowledgement",
    component(frames.AckFrame, "Answers a `message`, `event` or `presence` that has an `id`.", {
      action: ACTION,
      options: "The channel, and the `id` of the frame. For a stored message also its position.",
    }),
    { action: "ack", options: { ...onChannel, id: "7f0e6c1b2a", seq: 17, time: EVENT_FRAME.options.time } },
  ),
  HistoryAnswer: frame(
    "server",
    "History",
    component(frames.HistoryFrame, "The latest messages, oldest first.", {
      action: ACTION,
      options: "The channel, and its last `seq`.",
      payload: "The messages.",
    }),
    { action: "history", options: { ...onChannel, seq: 17 }, payload: [EVENT_FRAME] },
  ),
  Joined: frame(
    "server",
    "Joined",
    component(frames.JoinedFrame, "Answers a `join`. Every message after `options.seq` arrives live, in order.", {
      action: ACTION,
      client: "The client, as other clients see it.",
      options: WHERE,
      "options.seq": "The channel's last `seq`; 0 for a client that may not receive.",
      "options.resumed": "After a `join` with `after`: whether all missed messages follow now, before any new one.",
      "options.replayed": "The number of missed messages that follow.",
      "options.reason": "Why the missed messages do not follow.",
      "options.next": "The path of the history page with which to read the missed messages instead.",
      payload: "Which of `history` and `presence` the client gets.",
    }),
    {
      action: "join",
      client: CLIENT,
      options: { ...onChannel, seq: 17, resumed: true, replayed: 3 },
      payload: { history: true, presence: true },
    },
  ),
  Left: frame(
    "server",
    "Left",
    component(frames.LeftFrame, "Answers a `leave`.", { action: ACTION, options: "The channel.", payload: "Empty." }),
    { action: "leave", options: onChannel, payload: null },
  ),
  PresenceFull: frame(
    "server",
    "The list of members",
    component(
      frames.PresenceFullFrame,
      "The members of the channel. Follows the answer to a `join` that asked for `presence`.",
      {
        action: ACTION,
        options: "The channel, and the number of members.",
        payload: "At most 1,000 members.",
      },
    ),
    { action: "presence_full", options: { ...onChannel, total: 1 }, payload: { presence: [CLIENT] } },
  ),
  PresenceUpdate: frame(
    "server",
    "A presence update",
    component(
      frames.PresenceUpdateFrame,
      "Reports a member that joined, left or changed its state, to clients that asked for `presence`.",
      {
        action: ACTION,
        options: "The channel.",
        payload: "Whether the member joined (`join`), left (`leave`) or changed its state (`update`), and the member.",
      },
    ),
    { action: "presence_update", options: onChannel, payload: { action: "join", presence: CLIENT } },
  ),
  ConnectionStatus: {
    ...frame(
      "server",
      "A probe of how far the client has read",
      component(
        frames.ConnectionStatusFrame,
        "Sent to clients that send no heartbeats. A `join` for the channel, without `after`, confirms everything sent before the probe.",
        {
          action: ACTION,
          options: "The channel.",
          payload: "The status that Xano's client reports to its application.",
        },
      ),
      { action: "connection_status", options: onChannel, payload: { status: "connected" } },
    ),
    isMultiplexedOnly: true,
  },
  Error: frame(
    "server",
    "An error",
    component(
      frames.ErrorFrame,
      "Reports what is wrong with a frame of the client, or why the server closes the connection.",
      {
        action: ACTION,
        options: "The channel that the error is about, and the `id` of the frame that it answers, if known.",
        payload: "The error.",
        "payload.code": "The error code, which is stable. `/problems/{code}` explains it.",
        "payload.message": "What is wrong and what to do, for people. The text may change.",
        "payload.field": "The wrong field.",
        "payload.limit": "The exceeded limit.",
        "payload.retryAfter": "Seconds to wait before trying again.",
      },
    ),
    {
      action: "error",
      options: onChannel,
      payload: { code: "invalid-field", message: "options.after must be 0 or more.", field: "options.after", limit: 0 },
    },
  ),
};
