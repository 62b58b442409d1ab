import { Hono } from "hono";
import { sha256 } from "../auth/digest.ts";
import { databaseOf } from "../auth/known-settings.ts";
import { decidePublish, type Identity } from "../auth/policy.ts";
import type { Place } from "../channel/log.ts";
import type { Publication, Submission } from "../channel/publisher.ts";
import { clientOf } from "../channel/sockets.ts";
import type { Env } from "../env.ts";
import { type Fault, FaultError, problemOf, refuse, type Result } from "../protocol/errors.ts";
import { type Client, isoTime } from "../protocol/frames.ts";
import { messageText, tooLarge } from "../protocol/json.ts";
import { MAX_BATCH_BYTES, MAX_BATCH_CHANNELS } from "../protocol/limits.ts";
import { BatchRequest, IdempotencyKey, PublishRequest, validate } from "../protocol/schemas.ts";
import { utf8Length } from "../protocol/utf8.ts";
import { admission } from "./admission.ts";
import { addressOf, callerOf, countRequest } from "./caller.ts";
import { Coalescer } from "./coalescer.ts";
import { faultOf } from "./problem.ts";
import { type AppContext, jsonBody, stubOf, unwrap } from "./request.ts";

export const BATCH_PATH = "/messages";

/**
 * `POST /message`: stores a message, delivers it, and answers once it is stored.
 * `POST /messages`: many at once, for one or several channels; one result each.
 */
export const publish = new Hono<{ Bindings: Env }>()
  .post("/message", async (c) => {
    const key = keyOf(c);
    const request = await jsonBody(c, PublishRequest);
    const [result] = await publishTo(c, request.channel, [partOf(request, key, "")]);
    return c.json(placed(request.channel, unwrap(result ?? NO_ANSWER)), 201);
  })
  .post(BATCH_PATH, async (c) => {
    const key = keyOf(c);
    const requests = await jsonBody(c, BatchRequest, MAX_BATCH_BYTES);
    // One key for the whole batch: each message has its own by its place in it.
    const batch = requests.map((request, index) => partOf(request, key && [...key, index], `${index}.`));
    requireSize(batch);
    const channels = [...Map.groupBy(batch, ({ request }) => request.channel)];
    if (channels.length > MAX_BATCH_CHANNELS) throw new FaultError(tooManyChannels());
    const answers = await Promise.all(
      channels.map(async ([channel, parts]) => [channel, (await publishCounted(c, channel, parts)).values()] as const),
    );
    // Each channel answered in the order of its own messages; this puts them back into the order of the batch.
    const results = new Map(answers);
    return c.json({
      results: requests.map(({ channel }) => resultOf(channel, results.get(channel)?.next().value ?? NO_ANSWER)),
    });
  });

/** One message of a request, its idempotency key, and what leads to its fields in the body. */
interface Part {
  request: PublishRequest;
  /** The message as JSON. */
  payload: string;
  key: PartKey | undefined;
  field: string;
}

/** The header's key; in a batch with the message's index. */
type PartKey = readonly [key: string, index?: number];

function partOf(request: PublishRequest, key: PartKey | undefined, field: string): Part {
  return { request, payload: unwrap(messageText(request.message, `${field}message`)), key, field };
}

/** Counts the call to the channel, as the batch was counted itself (LIM7). */
async function publishCounted(c: AppContext, channel: string, parts: Part[]): Promise<Result<Place>[]> {
  const counted = await countRequest(c);
  return counted.ok ? publishTo(c, channel, parts) : parts.map(() => counted);
}

/** Sends a channel its messages by one call. What fails here fails this channel's messages, not those for others. */
async function publishTo(c: AppContext, channel: string, parts: Part[]): Promise<Result<Place>[]> {
  try {
    const who = await callerOf(c, channel);
    const publications = await Promise.all(parts.map((part) => publicationOf(c, who, part)));
    const refused = who.kind === "server" ? undefined : await refusalsOf(c, channel, { who, publications });
    if (refused) return refused;
    const submission = { who, publications };
    return await submit(c, channel, who.kind === "anonymous" ? { ...submission, address: addressOf(c) } : submission);
  } catch (error) {
    const fault = faultOf(error, { channel });
    return parts.map(() => ({ ok: false, fault }));
  }
}

/** Returns why each message is refused, undefined if any of them may go on to the channel's object. */
async function refusalsOf(
  c: AppContext,
  channel: string,
  { who, publications }: Submission,
): Promise<Result<Place>[] | undefined> {
  let refusals: Result<Place>[] = [];
  const admitted = await admission(c, channel, who, (settings) => {
    const verdicts = publications.map(({ database }) => decidePublish(who, database, settings));
    refusals = verdicts.filter((verdict) => !verdict.ok);
    return verdicts.find(({ ok }) => ok) ?? verdicts[0] ?? NO_ANSWER;
  });
  if (admitted.ok) return undefined;
  return publications.map((_, index) => refusals[index] ?? admitted);
}

/** Requests for the same channel share calls to its object, where the runtime lets one settle another's promise. */
async function submit(c: AppContext, channel: string, submission: Submission): Promise<Result<Place>[]> {
  const call = (submissions: Submission[]) => stubOf(c, channel).publish(submissions);
  if (Cloudflare.compatibilityFlags["handle_cross_request_promise_resolution"] !== true) {
    const [results] = await call([submission]);
    return results ?? [];
  }
  return publishing.submit(channel, submission, call, (work) => c.executionCtx.waitUntil(work));
}

const publishing = new Coalescer<Submission, Result<Place>[]>(({ publications }) =>
  publications.reduce((sum, { payload }) => sum + payload.length, 0),
);

const NO_ANSWER = refuse("unavailable", "The channel did not answer.", { retryAfter: 1 });

async function publicationOf(
  c: AppContext,
  who: Identity,
  { request, payload, key, field }: Part,
): Promise<Publication> {
  const { database = null, sender } = request;
  const client = await senderOf(c, who, request, field);
  const publication = { payload, client: client && JSON.stringify(client), database };
  if (key === undefined) return publication;
  const idempotency = {
    key: await digestOf(scopeOf(who), ...key),
    digest: await digestOf(payload, database, sender),
  };
  return { ...publication, idempotency };
}

/**
 * Returns the first 16 bytes of a SHA-256: a channel stores two of them for each key. As JSON, different parts never spell the
 * same text.
 */
async function digestOf(...parts: unknown[]): Promise<ArrayBuffer> {
  return (await sha256(JSON.stringify(parts))).slice(0, 16);
}

/** Returns the client that published an event, or the one that an API-key client names; null if it names none. */
async function senderOf(
  c: AppContext,
  who: Identity,
  { channel, sender }: PublishRequest,
  prefix: string,
): Promise<Client | null> {
  if (sender === undefined) return who.kind === "server" ? null : clientOf(who, "");
  const field = `${prefix}sender`;
  if (who.kind !== "server") {
    throw new FaultError({ code: "forbidden", detail: "Only the server side may name a sender.", field });
  }
  const database = unwrap(await databaseOf(sender.database, c.env, channel));
  if (database === null) {
    const detail = `There is no auth database ${sender.database}.`;
    throw new FaultError({ code: "invalid-field", detail, field: `${field}.database` });
  }
  return { socketId: "", permissions: { dbo_id: database.dbo_id, row_id: sender.id }, extras: {} };
}

/** API keys share a scope, and so do anonymous clients. A user is known by the database's name: a dbo_id may be reused. */
const scopeOf = (who: Identity) => (who.kind === "user" ? [who.database, who.row_id] : who.kind);

const placed = (channel: string, { seq, time }: Place) => ({ channel, seq, time: isoTime(time) });

function resultOf(channel: string, result: Result<Place>): object {
  return result.ok ? { status: 201, ...placed(channel, result.value) } : { ...problemOf(result.fault), channel };
}

function keyOf(c: AppContext): [key: string] | undefined {
  const header = c.req.header("Idempotency-Key");
  return header === undefined ? undefined : [unwrap(validate(IdempotencyKey, header, "Idempotency-Key"))];
}

/** The messages of a batch together may be no larger than its body, as they are stored. */
function requireSize(batch: Part[]): void {
  let bytes = 0;
  for (const { payload } of batch) bytes += utf8Length(payload);
  if (bytes > MAX_BATCH_BYTES) unwrap(tooLarge(MAX_BATCH_BYTES, { field: "body" }));
}

function tooManyChannels(): Fault {
  const detail = `A batch is for at most ${MAX_BATCH_CHANNELS} channels.`;
  return { code: "invalid-field", detail, field: "body", limit: MAX_BATCH_CHANNELS };
}
