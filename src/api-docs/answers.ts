import * as v from "valibot";
import { ERRORS, type ErrorCode } from "../protocol/errors.ts";
import type { Client, Members } from "../protocol/frames.ts";
import { AuthDatabase } from "../protocol/auth-database.ts";
import { ChannelSettings } from "../protocol/channel-settings.ts";
import { ChannelName, ChannelPattern, DatabaseName, MessageType, UserId } from "../protocol/values.ts";

/**
 * The schemas of the server's HTTP responses. The schemas of requests are in src/protocol, where they are validated.
 */

export const Seq = v.pipe(v.number(), v.integer(), v.minValue(0));
/** RFC 3339, UTC, with milliseconds. */
export const Time = v.pipe(v.string(), v.regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/));
const NextPage = v.nullable(v.string());

export const ClientInfo = v.strictObject({
  socketId: v.string(),
  permissions: v.strictObject({ dbo_id: v.number(), row_id: v.union([v.number(), v.string()]) }),
  extras: v.record(v.string(), v.unknown()),
  state: v.optional(v.record(v.string(), v.unknown())),
}) satisfies v.GenericSchema<Client>;

/** A stored message, as it is delivered live, in history and in a resume. */
export const StoredFrame = v.strictObject({
  action: v.picklist(["event", "message"]),
  client: v.optional(ClientInfo),
  options: v.strictObject({
    channel: ChannelName,
    seq: Seq,
    time: Time,
    type: v.optional(MessageType),
    id: v.optional(v.string()),
  }),
  payload: v.unknown(),
});

export const PublishResult = v.strictObject({ channel: ChannelName, seq: Seq, time: Time });

/** The answer to a message that was delivered and not stored. */
export const DeliverResult = v.strictObject({ channel: ChannelName });

const codes = Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]];
const statuses = [...new Set(codes.map((code) => ERRORS[code].status))];
const problemType = v.picklist(codes.map((code) => `/problems/${code}` as const));

export const ProblemType = v.strictObject({ type: problemType, title: v.string(), status: v.picklist(statuses) });

/** The optional fields of a problem and of an `error` frame. */
export const faultFields = {
  field: v.optional(v.string()),
  limit: v.optional(v.number()),
  retryAfter: v.optional(v.number()),
};

const problem = { ...ProblemType.entries, detail: v.string(), ...faultFields };
export const Problem = v.strictObject(problem);

export const BatchResults = v.strictObject({
  results: v.array(
    v.union([
      v.strictObject({ status: v.literal(201), ...PublishResult.entries }),
      v.strictObject({ status: v.literal(200), ...DeliverResult.entries }),
      v.strictObject({ ...problem, channel: ChannelName }),
    ]),
  ),
});

export const HistoryPage = v.strictObject({
  channel: ChannelName,
  seq: Seq,
  next: NextPage,
  messages: v.array(StoredFrame),
});

export const Presence = v.strictObject({
  total: v.number(),
  presence: v.array(ClientInfo),
}) satisfies v.GenericSchema<Members>;

export const Stats = v.strictObject({
  channel: ChannelName,
  seq: Seq,
  archived: Seq,
  backlog: Seq,
  capacity: Seq,
  sockets: Seq,
  joined: Seq,
  minutes: v.array(v.strictObject({ time: Time, messages: v.nullable(Seq) })),
});

export const NamedSettings = v.strictObject({ channel: ChannelPattern, settings: ChannelSettings });
export const SettingsList = v.strictObject({ channels: v.array(NamedSettings), next: NextPage });

export const NamedDatabase = v.strictObject({ database: DatabaseName, config: AuthDatabase });
export const DatabaseList = v.strictObject({ databases: v.array(NamedDatabase), next: NextPage });

export const Token = v.strictObject({ token: v.string(), expires: Time });

export const Disconnected = v.strictObject({
  database: DatabaseName,
  id: v.nullable(UserId),
  revoked_until: Time,
});

export const Health = v.strictObject({ status: v.literal("ok") });
