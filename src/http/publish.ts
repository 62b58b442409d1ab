import { Hono } from "hono";
import { databaseOf } from "../settings/known-settings.ts";
import { authorize, authorizePublish, type Identity } from "../auth/policy.ts";
import { idInBatch, idOfKey } from "../channel/idempotency-keys.ts";
import type { Accepted, NewMessage, Submission } from "../channel/publisher.ts";
import { clientOf } from "../channel/sockets.ts";
import type { Env } from "../env.ts";
import { recipientOf } from "../protocol/delivery.ts";
import { type Fault, FaultError, problemOf, refuse, type Result } from "../protocol/errors.ts";
import { type Client, isoTime } from "../protocol/frames.ts";
import { messageText, tooLarge } from "../protocol/json.ts";
import { MAX_BATCH_BYTES, MAX_BATCH_CHANNELS } from "../protocol/limits.ts";
import { BatchRequest, IdempotencyKey, PublishRequest } from "../protocol/publish-request.ts";
import { validate } from "../protocol/validate.ts";
import { utf8Length } from "../protocol/utf8.ts";
import { admission } from "./admission.ts";
import { addressOf, callerOf, countRequest } from "./caller.ts";
import { CallBatcher } from "./call-batcher.ts";
import { faultOf } from "./problem.ts";
import { type AppContext, jsonBody, stubOf, unwrap } from "./request.ts";

export const BATCH_PATH = "/messages";

/**
 * `POST /message` stores and delivers a message, or only delivers it. `POST /messages` does so for many messages, for one or several
 * channels, and returns one result per message.
 */
export const publish = new Hono<{ Bindings: Env }>()
  .post("/message", async (c) => {
    const id = await requestedId(c);
    const request = await jsonBody(c, PublishRequest);
    const [result] = await publishTo(c, request.channel, [partOf(request, id, "")]);
    const accepted = unwrap(result ?? NO_ANSWER);
    return c.json(acceptedResult(request.channel, accepted), statusOf(accepted));
  })
  .post(BATCH_PATH, async (c) => {
    const id = await requestedId(c);
    const requests = await jsonBody(c, BatchRequest, MAX_BATCH_BYTES);
    // The batch has one key. Each message gets a key of its own from its index.
    const batch = requests.map((request, index) => partOf(request, id && idInBatch(id, index), `${index}.`));
    requireSize(batch);
    const channels = [...Map.groupBy(batch, ({ request }) => request.channel)];
    if (channels.length > MAX_BATCH_CHANNELS) throw new FaultError(tooManyChannels());
    const answers = await Promise.all(
      channels.map(async ([channel, parts]) => [channel, (await publishCounted(c, channel, parts)).values()] as const),
    );
    // Each channel's results are in the order of its own messages. This restores the order of the batch.
    const results = new Map(answers);
    return c.json({
      results: requests.map(({ channel }) => resultOf(channel, results.get(channel)?.next().value ?? NO_ANSWER)),
    });
  });

/** One message of a request, and its idempotency key. `field` is the path of the message in the body. */
interface Part {
  request: PublishRequest;
  /** The message as JSON. */
  payload: string;
  id: string | undefined;
  field: string;
}

function partOf(request: PublishRequest, id: string | undefined, field: string): Part {
  return { request, payload: unwrap(messageText(request.message, `${field}message`)), id, field };
}

/** Counts the call to the channel, in addition to the batch itself (LIM7), and publishes. */
async function publishCounted(c: AppContext, channel: string, parts: Part[]): Promise<Result<Accepted>[]> {
  const counted = await countRequest(c);
  return counted.ok ? publishTo(c, channel, parts) : parts.map(() => counted);
}

/**
 * Publishes a channel's messages with one call. A failure affects only this channel's messages, not those for other
 * channels.
 */
async function publishTo(c: AppContext, channel: string, parts: Part[]): Promise<Result<Accepted>[]> {
  try {
    const who = await callerOf(c, channel);
    const messages = await Promise.all(parts.map((part) => newMessageOf(c, who, part)));
    const refused = who.kind === "server" ? undefined : await refusalsOf(c, channel, { who, messages });
    if (refused) return refused;
    const submission = { who, messages };
    return await submit(c, channel, who.kind === "anonymous" ? { ...submission, address: addressOf(c) } : submission);
  } catch (error) {
    const fault = faultOf(error, { channel });
    return parts.map(() => ({ ok: false, fault }));
  }
}

/** Returns each message's refusal, undefined if any message may go on to the channel's object. */
async function refusalsOf(
  c: AppContext,
  channel: string,
  { who, messages }: Submission,
): Promise<Result<Accepted>[] | undefined> {
  let refusals: Result<Accepted>[] = [];
  const admitted = await admission(c, channel, who, (settings) => {
    const verdicts = messages.map(({ database, to }) =>
      to ? authorize(who, "message-private", settings) : authorizePublish(who, database, settings),
    );
    refusals = verdicts.filter((verdict) => !verdict.ok);
    return verdicts.find(({ ok }) => ok) ?? verdicts[0] ?? NO_ANSWER;
  });
  if (admitted.ok) return undefined;
  return messages.map((_, index) => refusals[index] ?? admitted);
}

/**
 * Sends messages to the channel's object. Concurrent requests share calls, if the runtime lets one request settle
 * another's promise.
 */
async function submit(c: AppContext, channel: string, submission: Submission): Promise<Result<Accepted>[]> {
  const call = (submissions: Submission[]) => stubOf(c, channel).publish(submissions);
  if (Cloudflare.compatibilityFlags["handle_cross_request_promise_resolution"] !== true) {
    const [results] = await call([submission]);
    return results ?? [];
  }
  return publishing.submit(channel, submission, call, (work) => c.executionCtx.waitUntil(work));
}

const publishing = new CallBatcher<Submission, Result<Accepted>[]>(({ messages }) =>
  messages.reduce((sum, { payload }) => sum + payload.length, 0),
);

const NO_ANSWER = refuse("unavailable", "The channel did not answer. Try again in 1 s.", { retryAfter: 1 });

async function newMessageOf(c: AppContext, who: Identity, { request, payload, id, field }: Part): Promise<NewMessage> {
  const { database = null, type = null, ephemeral, except } = request;
  const client = await senderOf(c, who, request, field);
  const message = { payload, client: client && JSON.stringify(client), database, type, id, except };
  return { ...message, ephemeral: ephemeral === true, to: recipientOf(request) };
}

/**
 * Returns the client to which an event is attributed: the publisher, or the sender that an API-key client names. Null
 * if an API-key client names none.
 */
async function senderOf(
  c: AppContext,
  who: Identity,
  { channel, sender }: PublishRequest,
  prefix: string,
): Promise<Client | null> {
  if (sender === undefined) return who.kind === "server" ? null : clientOf(who, "");
  const field = `${prefix}sender`;
  if (who.kind !== "server") {
    throw new FaultError({
      code: "forbidden",
      detail: "Only API-key clients may set sender. Leave it out: the event is attributed to the caller.",
      field,
    });
  }
  const database = unwrap(await databaseOf(sender.database, c.env, channel));
  if (database === null) {
    const detail = `There is no auth database ${sender.database}.`;
    throw new FaultError({ code: "invalid-field", detail, field: `${field}.database` });
  }
  return { socketId: "", permissions: { dbo_id: database.dbo_id, row_id: sender.id }, extras: {} };
}

/** The answer to an accepted message. A message that was not stored has no position. */
function acceptedResult(channel: string, accepted: Accepted): object {
  return accepted ? { channel, seq: accepted.seq, time: isoTime(accepted.time) } : { channel };
}

const statusOf = (accepted: Accepted) => (accepted ? 201 : 200);

function resultOf(channel: string, result: Result<Accepted>): object {
  return result.ok
    ? { status: statusOf(result.value), ...acceptedResult(channel, result.value) }
    : { ...problemOf(result.fault), channel };
}

/** Returns the id that stands for the request's idempotency key, undefined if it has none. */
async function requestedId(c: AppContext): Promise<string | undefined> {
  const header = c.req.header("Idempotency-Key");
  return header === undefined ? undefined : idOfKey(unwrap(validate(IdempotencyKey, header, "Idempotency-Key")));
}

/** Limits the stored messages of a batch to as many bytes as its body may have. */
function requireSize(batch: Part[]): void {
  let bytes = 0;
  for (const { payload } of batch) bytes += utf8Length(payload);
  if (bytes > MAX_BATCH_BYTES) unwrap(tooLarge(MAX_BATCH_BYTES, { field: "body" }));
}

function tooManyChannels(): Fault {
  const detail = `A batch may have messages for at most ${MAX_BATCH_CHANNELS} channels. Split it.`;
  return { code: "invalid-field", detail, field: "body", limit: MAX_BATCH_CHANNELS };
}
