import { Hono } from "hono";
import type { Identity } from "../auth/policy.ts";
import type { Publication } from "../channel/channel.ts";
import type { Place } from "../channel/log.ts";
import type { Env } from "../env.ts";
import { causeOf, FaultError, refuse, type Result } from "../protocol/errors.ts";
import { isoTime } from "../protocol/frames.ts";
import { tooLarge, utf8Length } from "../protocol/json.ts";
import { MAX_BATCH_BYTES, MAX_BATCH_CHANNELS, MAX_BODY_BYTES } from "../protocol/limits.ts";
import { BatchRequest, IdempotencyKey, PublishRequest, validate } from "../protocol/schemas.ts";
import { problemOf } from "./problem.ts";
import { type AppContext, identityOf, jsonBody, stubOf, unwrap } from "./request.ts";

export const BATCH_PATH = "/messages";

/**
 * `POST /message`: stores a message, delivers it, and answers once it is stored.
 * `POST /messages`: many at once, for one or several channels; one result each.
 */
export const publish = new Hono<{ Bindings: Env }>()
  .post("/message", async (c) => {
    const who = await identityOf(c);
    const key = keyOf(c);
    const { channel, message } = await jsonBody(c, PublishRequest);
    const publication = await publicationOf(JSON.stringify(message), who, key);
    const [result] = await stubOf(c, channel).publish(who, [publication]);
    if (!result) throw new Error("publish gave no result");
    return c.json(placed(channel, unwrap(result)), 201);
  })
  .post(BATCH_PATH, async (c) => {
    const who = await identityOf(c);
    const key = keyOf(c);
    const requests = await jsonBody(c, BatchRequest, MAX_BATCH_BYTES);
    const batch = await Promise.all(
      requests.map(async ({ channel, message }, index) => {
        const payload = JSON.stringify(message);
        if (utf8Length(payload) > MAX_BODY_BYTES) unwrap(tooLarge(MAX_BODY_BYTES, { field: `${index}.message` }));
        // One key for the whole batch: each message has its own by its place in it.
        return { channel, publication: await publicationOf(payload, who, key && `${key}#${index}`) };
      }),
    );
    const results = await publishBatch(c, who, batch);
    return c.json({ results: results.map(({ channel, result }) => resultOf(channel, result)) });
  });

interface Addressed {
  channel: string;
  publication: Publication;
}

/** Sends each channel its messages by one call, and puts the results back into the order of the batch. */
async function publishBatch(c: AppContext, who: Identity, batch: Addressed[]) {
  const channels = [...Map.groupBy(batch, ({ channel }) => channel)];
  if (channels.length > MAX_BATCH_CHANNELS) {
    const detail = `A batch is for at most ${MAX_BATCH_CHANNELS} channels.`;
    throw new FaultError({ code: "invalid-field", detail, field: "body", limit: MAX_BATCH_CHANNELS });
  }
  const answers = await Promise.all(
    channels.map(async ([channel, parts]) => {
      const publications = parts.map(({ publication }) => publication);
      return [channel, (await publishTo(c, channel, who, publications)).values()] as const;
    }),
  );
  const results = new Map(answers);
  return batch.map(({ channel }) => ({ channel, result: results.get(channel)?.next().value ?? NO_ANSWER }));
}

/** A channel that does not answer fails its own messages, not those for others. */
async function publishTo(c: AppContext, channel: string, who: Identity, publications: Publication[]) {
  try {
    return await stubOf(c, channel).publish(who, publications);
  } catch (error) {
    console.error({ message: "a channel failed", error: causeOf(error) });
    return publications.map((): Result<Place> => NO_ANSWER);
  }
}

const NO_ANSWER = refuse("unavailable", "The channel did not answer.", { retryAfter: 1 });

const placed = (channel: string, { seq, time }: Place) => ({ channel, seq, time: isoTime(time) });

function resultOf(channel: string, result: Result<Place>): object {
  return result.ok ? { status: 201, ...placed(channel, result.value) } : { ...problemOf(result.fault), channel };
}

function keyOf(c: AppContext): string | undefined {
  const header = c.req.header("Idempotency-Key");
  return header === undefined ? undefined : unwrap(validate(IdempotencyKey, header, "Idempotency-Key"));
}

/** A key counts for the kind of caller who sent it, so that a stranger's never meets the server side's. */
async function publicationOf(payload: string, who: Identity, key: string | undefined): Promise<Publication> {
  if (key === undefined) return { payload };
  return { payload, idempotency: { key: `${who.kind}:${key}`, digest: await digestOf(payload) } };
}

async function digestOf(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(digest).toHex();
}
