import { ClientFrame } from "../protocol/schemas.ts";
import { type Component, component } from "./components.ts";
import { CHANNEL, CLIENT, EVENT } from "./examples.ts";
import * as frames from "./frames.ts";

const [Join, Leave, Message, History] = ClientFrame.options;

/** A frame: who sends it, what it is like, and one that is. */
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

const ACTION = "What kind of frame it is.";
const PAYLOAD = "The message: any JSON value.";
const WHERE = "The channel, and where it stands.";
const onChannel = { channel: CHANNEL };

/** Every frame that goes over a socket, by its name in the document. */
export const FRAMES: Record<string, Frame> = {
  Join: frame(
    "client",
    "Join a channel",
    component(Join, "Messages come only after it. `options.after`, the last `seq` seen, resumes behind it.", {
      action: ACTION,
      options: "`channel` may be left out on a channel's own socket.",
      payload: "What else is wanted: the latest history, and who is here.",
    }),
    { action: "join", options: { ...onChannel, after: 0 }, payload: { history: true, presence: true } },
  ),
  Leave: frame(
    "client",
    "Leave a channel",
    component(Leave, "Ends the delivery; the connection stays.", {
      action: ACTION,
      options: WHERE,
      payload: "Nothing.",
    }),
    { action: "leave", options: onChannel },
  ),
  Message: frame(
    "client",
    "Send a message",
    component(Message, "To everybody in the channel, to its authenticated clients, or to one client only.", {
      action: ACTION,
      options: "`authenticated`: to authenticated clients only. `socketId`: to this one client, and not stored.",
      payload: PAYLOAD,
    }),
    { action: "message", options: { ...onChannel, authenticated: true }, payload: { text: "I can do this all day." } },
  ),
  History: frame(
    "client",
    "Ask for history",
    component(History, "For the latest messages, as many as the channel's settings say.", {
      action: ACTION,
      options: WHERE,
      payload: "Nothing.",
    }),
    { action: "history", options: onChannel },
  ),
  Event: frame(
    "server",
    "An event",
    component(
      frames.EventFrame,
      "A message that was published over HTTP. Without `client` it is from an API-key client.",
      {
        action: ACTION,
        client: "To whom it is attributed, where that is known.",
        options: WHERE,
        payload: PAYLOAD,
      },
    ),
    EVENT,
  ),
  ClientMessage: frame(
    "server",
    "A client's message",
    component(frames.MessageFrame, "A message that a client sent to the channel.", {
      action: ACTION,
      client: "Who sent it.",
      options: WHERE,
      payload: PAYLOAD,
    }),
    { ...EVENT, action: "message", client: CLIENT },
  ),
  PrivateMessage: frame(
    "server",
    "A private message",
    component(frames.PrivateFrame, "A client's message to this client alone; not stored, without a `seq`.", {
      action: ACTION,
      client: "Who sent it.",
      options: "The channel, and the recipient's `socketId`.",
      payload: PAYLOAD,
    }),
    {
      action: "message",
      client: CLIENT,
      options: { ...onChannel, socketId: "3d0f6a52-93b1-4c1e-8a53-0b7e9d1c2f4a" },
      payload: "psst",
    },
  ),
  HistoryAnswer: frame(
    "server",
    "History",
    component(frames.HistoryFrame, "The latest messages, oldest first.", {
      action: ACTION,
      options: "The channel, and its last `seq`.",
      payload: "The messages.",
    }),
    { action: "history", options: { ...onChannel, seq: 17 }, payload: [EVENT] },
  ),
  Joined: frame(
    "server",
    "Joined",
    component(frames.JoinedFrame, "Answers a `join`. Every message after its `options.seq` comes live, in order.", {
      action: ACTION,
      client: "Who the client is to others.",
      options: WHERE,
      "options.seq": "The channel's last `seq`; 0 for a client that may not receive.",
      "options.resumed": "After a `join` with `after`: whether all that was missed follows now, before anything new.",
      "options.replayed": "How many frames that is.",
      "options.reason": "Why it is not replayed.",
      "options.next": "The path to read it by instead.",
      payload: "What was granted of what was asked for.",
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
    component(frames.LeftFrame, "Answers a `leave`.", { action: ACTION, options: "The channel.", payload: "Nothing." }),
    { action: "leave", options: onChannel, payload: null },
  ),
  PresenceFull: frame(
    "server",
    "Who is here",
    component(frames.PresenceFullFrame, "Follows a `join` that asked for `presence`.", {
      action: ACTION,
      options: "The channel, and how many there are.",
      payload: "At most 1,000 of them.",
    }),
    { action: "presence_full", options: { ...onChannel, total: 1 }, payload: { presence: [CLIENT] } },
  ),
  PresenceUpdate: frame(
    "server",
    "Who comes and goes",
    component(frames.PresenceUpdateFrame, "For those who asked for `presence`.", {
      action: ACTION,
      options: "The channel.",
      payload: "Whether the client came (`join`) or went (`leave`), and who it is.",
    }),
    { action: "presence_update", options: onChannel, payload: { action: "join", presence: CLIENT } },
  ),
  ConnectionStatus: {
    ...frame(
      "server",
      "A question how far the client has read",
      component(
        frames.ConnectionStatusFrame,
        "For clients that send no heartbeats. A `join` for the channel, without `after`, confirms what was sent before.",
        { action: ACTION, options: "The channel.", payload: "What Xano's client tells its application." },
      ),
      { action: "connection_status", options: onChannel, payload: { status: "connected" } },
    ),
    isMultiplexedOnly: true,
  },
  Error: frame(
    "server",
    "An error",
    component(frames.ErrorFrame, "What is wrong with a frame of the client's. The connection stays open.", {
      action: ACTION,
      options: "The channel that it concerns, where that is known.",
      payload: "What is wrong.",
      "payload.code": "The stable part, for programs; `/problems/{code}` explains it.",
      "payload.message": "For people.",
      "payload.field": "The field that is wrong.",
      "payload.limit": "The bound that was passed.",
      "payload.retryAfter": "Seconds to wait before trying again.",
    }),
    {
      action: "error",
      options: onChannel,
      payload: { code: "invalid-field", message: "options.after must be 0 or more.", field: "options.after", limit: 0 },
    },
  ),
};
