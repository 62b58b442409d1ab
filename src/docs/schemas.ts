import {
  AuthDatabase,
  BatchRequest,
  ChannelName,
  ChannelPattern,
  ChannelSettings,
  DatabaseName,
  DisconnectRequest,
  PublishRequest,
  TokenRequest,
} from "../protocol/schemas.ts";
import {
  BatchResults,
  ClientInfo,
  DatabaseList,
  Disconnected,
  Health,
  HistoryPage,
  NamedDatabase,
  NamedSettings,
  Placed,
  Presence,
  Problem,
  ProblemType,
  SettingsList,
  Stats,
  StoredFrame,
  Token,
} from "./answers.ts";
import { component } from "./components.ts";

const NEXT = "The path of the page that goes on, null where this was the last.";
const SEQ = "Its place in the channel's order: 1, 2, 3 … without gap or repeat.";

/** What both documents speak of: names, channels, clients. */
export const SHARED = {
  ChannelName: component(
    ChannelName,
    "A channel's name: segments joined by `/`, none of them empty, `.` or `..`. In a path it is percent-encoded as one segment: `room%2F42`.",
    {},
  ),
  Client: component(ClientInfo, "Who is behind a socket, or sent a message.", {
    socketId: "By which private messages find it; empty where a message came by HTTP.",
    permissions: "The user, by the numbers of its auth database and of itself; both 0 for an anonymous client.",
    extras: "What its token says of it, for everyone in the channel to see.",
  }),
  StoredFrame: component(StoredFrame, "A stored message, the same live, in history and in a resume.", {
    action: "`event`: published over HTTP. `message`: sent over a socket.",
    client: "Who sent it. An event of an API-key client that named no `sender` has none.",
    options: "Where it is in the channel's order.",
    "options.channel": "The channel.",
    "options.seq": SEQ,
    "options.time": "When it was stored: RFC 3339, UTC, milliseconds. Never earlier than its predecessor's.",
    payload: "The message: any JSON value.",
  }),
};

/** What HTTP takes and answers. */
export const HTTP = {
  ...SHARED,
  PublishRequest: component(PublishRequest, "A message to publish.", {
    channel: "The channel to publish to.",
    message: "Any JSON value: text, number, object, array, true, false, null.",
    database: "Deliver only to clients whom this auth database authenticated; it must be the channel's.",
    sender: "The user to whom the event is attributed; for the server side only.",
  }),
  BatchRequest: component(BatchRequest, "Messages for up to 100 channels, each channel's in order.", {}),
  Placed: component(Placed, "Where the message is: stored and delivered.", {
    channel: "The channel.",
    seq: SEQ,
    time: "When it was stored.",
  }),
  BatchResults: component(BatchResults, "One result for each message, in the order of the batch.", {
    results: "A place (`status` 201), or a problem with its `status`; both with the message's `channel`.",
  }),
  HistoryPage: component(HistoryPage, "A page of history.", {
    channel: "The channel.",
    seq: "The channel's last `seq`.",
    next: "The path of the page that goes on in the same direction, null where this was the last.",
    messages: "Oldest first. Those that the caller may not see are left out.",
  }),
  Presence: component(Presence, "Who is here.", {
    total: "How many clients have joined.",
    presence: "As many of them as were asked for.",
  }),
  ChannelPattern: component(
    ChannelPattern,
    "What settings are stored for: a channel (`room/42`), all below one (`room/*`), or all there are (`*`).",
    {},
  ),
  ChannelSettings: component(
    ChannelSettings,
    "Who may do what on a channel. What is left out takes its default; settings are not merged.",
    {
      active: "Off, the channel is closed to all but the server side.",
      description: "For people.",
      anonymous_clients: "Clients without credentials may connect.",
      presence: "Clients may see who is here.",
      message_history:
        "How many of the latest messages a client gets on `join`; with 0, clients read no history at all.",
      public_messaging: "Whether clients may send to the channel (`active`), or only authenticated ones (`auth`).",
      private_messaging: "Whether clients may send to each other (`active`), or only authenticated ones (`auth`).",
      nested_channels: "These settings also hold below the channel (`room` for `room/42`), where nothing nearer does.",
      auth_channel: "Only authenticated clients receive: live, in history, and in presence.",
      anonymous_bytes_per_day:
        "How many bytes anonymous clients may store per day (UTC), payloads and clients together; null for no limit.",
      database: "The auth database whose users may authenticate on the channel; null where nobody can.",
    },
  ),
  NamedSettings: component(NamedSettings, "Settings, and what they are stored for.", {
    channel: "A channel or a pattern.",
    settings: "The settings, whole.",
  }),
  Stats: component(Stats, "How a channel is doing.", {
    channel: "The channel.",
    seq: "Its last `seq`.",
    archived: "The last `seq` that is in D1.",
    backlog: "How many messages wait for D1.",
    capacity: "How many may wait.",
    sockets: "How many sockets it holds.",
    joined: "How many of them have joined.",
    minutes:
      "Its messages in each of the last 60 minutes, the current one last; null where D1 alone knows, and does not answer.",
  }),
  SettingsList: component(SettingsList, "A page of settings, by name.", { channels: "The settings.", next: NEXT }),
  DatabaseName: component(DatabaseName, "The name of an auth database.", {}),
  AuthDatabase: component(
    AuthDatabase,
    "A set of users who prove by a token (JWT) who they are. Just one of `secret`, `jwks` and `jwks_url` says what tokens are verified by.",
    {
      dbo_id: "The number by which clients know the database; each has its own.",
      secret:
        "The name of a Worker secret that holds a key for HS256 of at least 32 bytes. The name begins with AUTH_SECRET.",
      jwks: "A JSON Web Key Set (RFC 7517) of at most 100 public keys.",
      jwks_url:
        "Where to fetch such a set: an https: address with a public host name, without credentials, fragment or IP address.",
      algorithm: "For key sets an asymmetric one, by default RS256. A secret is always used with HS256.",
      issuer: "What a token's `iss` must be.",
      audience:
        "What a token's `aud` must be, or contain. By default `durable-channels:{name}`, which tokens need only if another database has the same key.",
      id_claim: "The claim that holds the user's id.",
      extras_claim: "The claim whose object becomes the client's `extras`.",
    },
  ),
  NamedDatabase: component(NamedDatabase, "An auth database.", { database: "Its name.", config: "How it verifies." }),
  DatabaseList: component(DatabaseList, "A page of auth databases, by name.", {
    databases: "The databases.",
    next: NEXT,
  }),
  TokenRequest: component(TokenRequest, "Whom a token is for.", {
    id: "The user's id within the database.",
    extras: "What others may know of the user; needs a database with an `extras_claim`. At most 4,096 bytes as JSON.",
    expires_in: "Seconds until the token expires.",
  }),
  DisconnectRequest: component(DisconnectRequest, "Whom to disconnect.", {
    id: "The user's id within the database; left out for all users.",
  }),
  Disconnected: component(Disconnected, "Whose tokens are revoked.", {
    database: "The database.",
    id: "The user's id, null for all users.",
    revoked_until: "Tokens that were issued until this time are refused.",
  }),
  Token: component(Token, "A user's token.", { token: "A JWT.", expires: "When it expires." }),
  ProblemType: component(ProblemType, "What a problem's type stands for.", {
    type: "The address of this very explanation.",
    title: "What it means.",
    status: "The HTTP status that comes with it.",
  }),
  Problem: component(Problem, "Why a request was refused (RFC 9457). What is refused changes nothing.", {
    type: "The stable part, for programs: the address that explains it.",
    title: "What the type means.",
    status: "The HTTP status.",
    detail: "What is wrong just here, for people.",
    field: "The field, header or parameter that is wrong.",
    limit: "The bound that was passed.",
    retryAfter: "Seconds to wait before trying again.",
  }),
  Health: component(Health, "That the server is well.", { status: "Always `ok`." }),
};
