import { Hono } from "hono";
import { sha256 } from "../auth/digest.ts";
import { databaseOf } from "../auth/identity.ts";
import type { Identity } from "../auth/policy.ts";
import type { Place } from "../channel/log.ts";
import type { Publication } from "../channel/publisher.ts";
import { clientOf } from "../channel/sockets.ts";
import type { Env } from "../env.ts";
import { causeOf, type Fault, FaultError, refuse, type Result } from "../protocol/errors.ts";
import { type Client, isoTime } from "../protocol/frames.ts";
import { isLongerThan, tooLarge } from "../protocol/json.ts";
import { MAX_BATCH_BYTES, MAX_BATCH_CHANNELS, MAX_BODY_BYTES } from "../protocol/limits.ts";
import { BatchRequest, IdempotencyKey, PublishRequest, validate } from "../protocol/schemas.ts";
import { callerOf } from "./caller.ts";
import { problemOf } from "./problem.ts";
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
    const [result] = await publishTo(c, request.channel, [{ request, key, field: "" }]);
    return c.json(placed(request.channel, unwrap(result ?? NO_ANSWER)), 201);
  })
  .post(BATCH_PATH, async (c) => {
    const key = keyOf(c);
    const requests = await jsonBody(c, BatchRequest, MAX_BATCH_BYTES);
    // One key for the whole batch: each message has its own by its place in it.
    const batch = requests.map((request, index) => ({ request, key: key && `${key}#${index}`, field: `${index}.` }));
    for (const { request, field } of batch) requireSize(request.message, `${field}message`);
    const channels = [...Map.groupBy(batch, ({ request }) => request.channel)];
    if (channels.length > MAX_BATCH_CHANNELS) throw new FaultError(tooManyChannels());
    const answers = await Promise.all(
      channels.map(async ([channel, parts]) => [channel, (await publishTo(c, channel, parts)).values()] as const),
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
  key: string | undefined;
  field: string;
}

/** Sends a channel its messages by one call. What fails here fails this channel's messages, not those for others. */
async function publishTo(c: AppContext, channel: string, parts: Part[]): Promise<Result<Place>[]> {
  try {
    const who = await callerOf(c, channel);
    const publications = await Promise.all(parts.map((part) => publicationOf(c, who, part)));
    return await stubOf(c, channel).publish(who, publications);
  } catch (error) {
    if (error instanceof FaultError) return parts.map(() => ({ ok: false, fault: error.fault }));
    console.error({ message: "a channel failed", error: causeOf(error) });
    return parts.map(() => NO_ANSWER);
  }
}

const NO_ANSWER = refuse("unavailable", "The channel did not answer.", { retryAfter: 1 });

/** A key counts for the kind of caller who sent it, so that a stranger's never meets the server side's. */
async function publicationOf(c: AppContext, who: Identity, { request, key, field }: Part): Promise<Publication> {
  const { message, database = null, sender } = request;
  const payload = JSON.stringify(message);
  const client = await senderOf(c, who, sender, field);
  const publication = { payload, client: client && JSON.stringify(client), database };
  if (key === undefined) return publication;
  const digest = new Uint8Array(await sha256(JSON.stringify([payload, database, sender]))).toHex();
  return { ...publication, idempotency: { key: `${scopeOf(who)}:${key}`, digest } };
}

/** Who an event is from: the user who posts it, or whom the server side names; null where that is not known. */
async function senderOf(
  c: AppContext,
  who: Identity,
  sender: PublishRequest["sender"],
  prefix: string,
): Promise<Client | null> {
  if (sender === undefined) return who.kind === "user" ? clientOf(who, "") : null;
  const field = `${prefix}sender`;
  if (who.kind !== "server") {
    throw new FaultError({ code: "forbidden", detail: "Only the server side may name a sender.", field });
  }
  const database = await databaseOf(sender.database, c.env);
  if (database === null) {
    const detail = `There is no auth database ${sender.database}.`;
    throw new FaultError({ code: "invalid-field", detail, field: `${field}.database` });
  }
  return { socketId: "", permissions: { dbo_id: database.dbo_id, row_id: sender.id }, extras: {} };
}

const scopeOf = (who: Identity) => (who.kind === "user" ? `user:${who.dbo_id}:${who.row_id}` : who.kind);

const placed = (channel: string, { seq, time }: Place) => ({ channel, seq, time: isoTime(time) });

function resultOf(channel: string, result: Result<Place>): object {
  return result.ok ? { status: 201, ...placed(channel, result.value) } : { ...problemOf(result.fault), channel };
}

function keyOf(c: AppContext): string | undefined {
  const header = c.req.header("Idempotency-Key");
  return header === undefined ? undefined : unwrap(validate(IdempotencyKey, header, "Idempotency-Key"));
}

/** A message of a batch may be no larger than one of its own. */
function requireSize(message: unknown, field: string): void {
  if (isLongerThan(JSON.stringify(message), MAX_BODY_BYTES)) unwrap(tooLarge(MAX_BODY_BYTES, { field }));
}

function tooManyChannels(): Fault {
  const detail = `A batch is for at most ${MAX_BATCH_CHANNELS} channels.`;
  return { code: "invalid-field", detail, field: "body", limit: MAX_BATCH_CHANNELS };
}
