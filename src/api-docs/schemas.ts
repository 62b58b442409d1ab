import { AuthDatabase, DisconnectRequest, TokenRequest } from "../protocol/auth-database.ts";
import { ChannelSettings } from "../protocol/channel-settings.ts";
import { BatchRequest, PublishRequest } from "../protocol/publish-request.ts";
import { ChannelName, ChannelPattern, DatabaseName } from "../protocol/values.ts";
import {
  BatchResults,
  ClientInfo,
  DatabaseList,
  Disconnected,
  Health,
  HistoryPage,
  NamedDatabase,
  NamedSettings,
  DeliverResult,
  PublishResult,
  Presence,
  Problem,
  ProblemType,
  SettingsList,
  Stats,
  StoredFrame,
  Token,
} from "./answers.ts";
import { component } from "./components.ts";

const NEXT = "The path of the next page, null after the last page.";
const SEQ = "The number of the message in its channel: 1, 2, 3 …, without a gap or a repeat.";

/** The schemas that both documents use. */
export const SHARED = {
  ChannelName: component(
    ChannelName,
    "A channel's name: segments joined by `/`. No segment is empty, `.` or `..`. In a path, the name is percent-encoded as one segment: `room%2F42`.",
    {},
  ),
  Client: component(ClientInfo, "A client, as other clients see it.", {
    socketId: "The id of its socket, to which private messages are addressed. Empty if it published over HTTP.",
    permissions:
      "The user: the number of its auth database (`dbo_id`) and its id (`row_id`). Both are 0 for an anonymous client.",
    extras: "Data from the user's token, which every client of the channel can see.",
    state: "In presence only: the state that the member has set, if any.",
  }),
  StoredFrame: component(StoredFrame, "A stored message. Its frame is the same live, in history and in a resume.", {
    action: "`event`: published over HTTP. `message`: sent over a socket.",
    client: "The sender. An event from an API-key client that named no `sender` has none.",
    options: "The position of the message.",
    "options.channel": "The channel.",
    "options.seq": SEQ,
    "options.time": "When it was stored: RFC 3339, UTC, milliseconds. Never earlier than the previous message's.",
    "options.type": "The application's name for its kind, if the sender gave one.",
    "options.id": "The id that the sender gave it. Over sockets only, and for the sender only.",
    payload: "The message: any JSON value.",
  }),
};

/** The schemas of the HTTP interface. */
export const HTTP = {
  ...SHARED,
  PublishRequest: component(PublishRequest, "A message to publish.", {
    channel: "The channel to publish to.",
    message: "Any JSON value: text, number, object, array, true, false, null.",
    database: "Restricts the event to the users of this auth database, which must be the channel's.",
    sender: "The user to whom the event is attributed. For API-key clients only.",
    type: "Your name for this kind of message: `order.created`. Clients can filter by it.",
    ephemeral: "If true, the message is delivered to the current subscribers, and not stored or numbered.",
    socketId: "Only this client gets the message, and it is not stored.",
    user: "Only the sockets of this user get the message, and it is not stored. Names the user as `permissions` do.",
    except: "The `socketId` of a client that does not get the message live.",
  }),
  BatchRequest: component(
    BatchRequest,
    "Messages for up to 100 channels. The messages of one channel are stored in order.",
    {},
  ),
  PublishResult: component(PublishResult, "The position of a stored message.", {
    channel: "The channel.",
    seq: SEQ,
    time: "When it was stored.",
  }),
  DeliverResult: component(DeliverResult, "The answer to a message that was delivered and not stored.", {
    channel: "The channel.",
  }),
  BatchResults: component(BatchResults, "One result for each message, in the order of the batch.", {
    results:
      "The position of the stored message with `status` 201, `status` 200 for a message that was delivered and not stored, or a problem with its `status`. All have the message's `channel`.",
  }),
  HistoryPage: component(HistoryPage, "A page of history.", {
    channel: "The channel.",
    seq: "The channel's last `seq`.",
    next: "The path of the next page in the same direction, null after the last page.",
    messages: "The messages, oldest first. Messages that the caller may not see are left out.",
  }),
  Presence: component(Presence, "The members of a channel.", {
    total: "The number of members.",
    presence: "The members, at most `limit` of them.",
  }),
  ChannelPattern: component(
    ChannelPattern,
    "The key of settings: a channel (`room/42`), all channels below a name (`room/*`), or all channels (`*`).",
    {},
  ),
  ChannelSettings: component(
    ChannelSettings,
    "What clients may do on a channel. A setting that is left out gets its default. Settings are not merged.",
    {
      active: "If false, the channel is closed to all clients except API-key clients.",
      description: "A description for people.",
      anonymous_clients: "Whether anonymous clients may connect.",
      presence: "Whether clients may see presence.",
      message_history:
        "The number of latest messages that a client gets on `join`. With 0, clients cannot read history at all.",
      public_messaging:
        "`active`: whether clients may send messages to the channel. `auth`: whether only authenticated clients may.",
      private_messaging:
        "`active`: whether clients may send private messages. `auth`: whether only authenticated clients may.",
      nested_channels:
        "Whether these settings also hold for the channels below this one (`room` for `room/42`) that have no nearer settings.",
      auth_channel: "Whether only authenticated clients receive messages, history and presence.",
      anonymous_bytes_per_day:
        "The bytes that anonymous clients may store per day (UTC), payloads and clients together; null for no limit.",
      database: "The auth database whose users may authenticate on the channel; null for none.",
    },
  ),
  NamedSettings: component(NamedSettings, "Settings, and the channel or pattern for which they are stored.", {
    channel: "A channel or a pattern.",
    settings: "The settings, including defaults.",
  }),
  Stats: component(Stats, "The state of a channel.", {
    channel: "The channel.",
    seq: "The channel's last `seq`.",
    archived: "The last archived `seq`.",
    backlog: "The number of messages that are not archived yet.",
    capacity: "The largest backlog that the channel accepts.",
    sockets: "The number of open sockets.",
    joined: "The number of sockets that have joined.",
    minutes:
      "The number of messages in each of the last 60 minutes, the current one last. Null if only the archive has the number and does not answer.",
  }),
  SettingsList: component(SettingsList, "A page of settings, by name.", { channels: "The settings.", next: NEXT }),
  DatabaseName: component(DatabaseName, "The name of an auth database.", {}),
  AuthDatabase: component(
    AuthDatabase,
    "A set of users, each identified by a token (JWT). Exactly one of `secret`, `jwks` and `jwks_url` gives the keys that verify the tokens.",
    {
      dbo_id: "The number of the database in `permissions`. Each database has a different one.",
      secret:
        "The name of a Worker secret with a key for HS256, of at least 32 bytes. The name begins with AUTH_SECRET.",
      jwks: "A JSON Web Key Set (RFC 7517) of at most 100 public keys.",
      jwks_url:
        "The address of such a set: an https: address with a public host name, without credentials, fragment or IP address.",
      algorithm: "For key sets an asymmetric algorithm, by default RS256. A secret always uses HS256.",
      issuer: "The required `iss` of a token.",
      audience:
        "The required `aud` of a token, or one of its `aud`s. By default `durable-channels:{name}`, which tokens need only if another database has the same key.",
      id_claim: "The claim with the user's id.",
      extras_claim: "The claim with the object that becomes the client's `extras`.",
    },
  ),
  NamedDatabase: component(NamedDatabase, "An auth database.", {
    database: "The name of the database.",
    config: "The configuration.",
  }),
  DatabaseList: component(DatabaseList, "A page of auth databases, by name.", {
    databases: "The databases.",
    next: NEXT,
  }),
  TokenRequest: component(TokenRequest, "The user of a token.", {
    id: "The user's id within the database.",
    extras: "Data that other clients see. Needs a database with an `extras_claim`. At most 4,096 bytes as JSON.",
    expires_in: "Seconds until the token expires.",
  }),
  DisconnectRequest: component(DisconnectRequest, "The user to disconnect.", {
    id: "The user's id within the database. Leave it out to disconnect all users.",
  }),
  Disconnected: component(Disconnected, "The tokens that were revoked.", {
    database: "The database.",
    id: "The user's id, null for all users.",
    revoked_until: "Tokens that were issued at or before this time are refused.",
  }),
  Token: component(Token, "A user's token.", { token: "A JWT.", expires: "When the token expires." }),
  ProblemType: component(ProblemType, "An explanation of a problem's type.", {
    type: "The path of this explanation.",
    title: "The meaning of the type.",
    status: "The HTTP status of the problem.",
  }),
  Problem: component(Problem, "The reason why a request was refused (RFC 9457). A refused request changes nothing.", {
    type: "The path that explains the error. It is stable, for programs.",
    title: "The meaning of the type.",
    status: "The HTTP status.",
    detail: "What is wrong and what to do, for people. The text may change.",
    field: "The wrong field, header or parameter.",
    limit: "The exceeded limit.",
    retryAfter: "Seconds to wait before trying again.",
  }),
  Health: component(Health, "The result of a successful health check.", { status: "Always `ok`." }),
};
