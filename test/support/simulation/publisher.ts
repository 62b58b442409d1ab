import { type Content, contentOf } from "./contents.ts";
import type { Operation } from "./operations.ts";
import type { Sent } from "./oracle.ts";
import { PLACES, type Place, type StepOf, type Who } from "./schedule.ts";
import type { Server } from "./server.ts";
import type { Stage } from "./stage.ts";

/** How long a publish may wait for D1, in milliseconds, and after how long it may do so again. */
const LONGEST_WAIT_MS = 1_000;
const WAIT_AGAIN_AFTER_MS = 5_000;

/** What `POST /message` answers, or `POST /messages` for one of its messages. */
interface Result {
  status: number;
  seq?: number;
  time?: string;
  type?: string;
}

/** A message of a publish, and what the body says of it. */
interface Part {
  sent: Sent;
  body: object;
  /** Whether an earlier attempt may have stored it without an answer. */
  isUncertain: boolean;
}

interface Publish {
  who: Who;
  key: string | undefined;
  parts: Part[];
}

/** Publishes by HTTP, repeats publishes that have a key, and reports the answers to the oracle. */
export class Publisher {
  readonly #stage: Stage;
  readonly #server: Server;
  readonly #keyed: Publish[] = [];
  readonly #hasBegun: Record<Place, boolean> = { room: false, hall: false };
  /** When a publish last had to wait, by `elapsed`. */
  readonly #waitedAt: Record<Place, number> = { room: -Infinity, hall: -Infinity };

  constructor(stage: Stage, server: Server) {
    this.#stage = stage;
    this.#server = server;
  }

  async publish({ who, to, sizes, keyed, restricted, attributed }: Omit<StepOf<"publish">, "do">): Promise<void> {
    const restriction = restricted ? this.#stage.id : null;
    const sender = who === "server" && attributed ? this.#stage.user(7) : this.#stage.senderOf(who);
    const parts = sizes.flatMap((size) =>
      to.map((place): Part => {
        const content = contentOf(this.#stage.newName("m"), size);
        const sent = this.#newMessage(this.#stage.channels[place], who, content, { restriction, sender });
        return { sent, body: this.#bodyOf(sent, attributed), isUncertain: false };
      }),
    );
    const publish = { who, key: keyed ? this.#stage.newName("key") : undefined, parts };
    if (keyed) this.#keyed.push(publish);
    await this.#post(publish);
  }

  /** Publishes a small event to each channel, as the API-key client. */
  async publishPlainly(...to: Place[]): Promise<void> {
    await this.publish({ who: "server", to, sizes: ["small"], keyed: false, restricted: false, attributed: false });
  }

  /** Repeats a publish with its key: unchanged, or with another first message, which the server must refuse. */
  async retry({ nth, changed }: Omit<StepOf<"retry">, "do">): Promise<void> {
    const publish = this.#keyed.at(-1 - nth);
    const [first, ...rest] = publish?.parts ?? [];
    if (!publish || !first) return;
    if (!changed) return this.#post(publish);
    const content = contentOf(this.#stage.newName("m"), "small");
    const sent = this.#newMessage(first.sent.channel, publish.who, content, first.sent);
    const part = { sent, body: { ...first.body, message: content }, isUncertain: false };
    await this.#post({ ...publish, parts: [part, ...rest] }, first.sent);
  }

  /** @param original The message that was sent with the first part's key before. */
  async #post({ who, key, parts }: Publish, original?: Sent): Promise<void> {
    const places = PLACES.filter((place) => parts.some(({ sent }) => sent.channel === this.#stage.channels[place]));
    const bodies = parts.map(({ body }) => body);
    const isKnown = original?.acknowledged !== undefined;
    const question = {
      label: `the publish by ${who}`,
      places,
      method: "POST" as const,
      path: parts.length === 1 ? "/message" : "/messages",
      who,
      body: parts.length === 1 ? bodies[0] : bodies,
      headers: key === undefined ? {} : { "Idempotency-Key": key },
    };
    for (const part of parts) part.sent.to = undefined;
    const hadBegun = places.every((place) => this.#hasBegun[place]);
    await this.#server.ask(question, async (answer, operation) => {
      const results = await resultsOf(answer, parts.length);
      for (const [index, part] of parts.entries()) this.#take(part, results[index] ?? { status: 0 }, who, operation);
      if (isKnown && results[0]?.status === 201) {
        this.#stage.oracle.fail("a key has one answer", `${key} was taken for another message`);
      }
      // The user to whom an event is attributed is looked up in D1.
      const isAttributed = parts.some(({ body }) => "sender" in body);
      if (who === "server" && hadBegun && !isAttributed) this.#noteWait(places, operation);
    });
    for (const part of parts) if (part.sent.to === undefined) part.isUncertain = true;
  }

  #take(part: Part, { status, seq = 0, time = "", type = "" }: Result, who: Who, operation: Operation): void {
    const { oracle, clock } = this.#stage;
    const { sent } = part;
    const [from, to] = [operation.from, clock.moment()];
    sent.to = to;
    if (status === 201) {
      this.#hasBegun[this.#stage.placeOf(sent.channel)] = true;
      this.#server.accepts(`${sent.content.id} was stored`, who, from, to);
      return oracle.acknowledges(sent, seq, time);
    }
    if (status >= 500 && operation.isDisturbed) part.isUncertain = true;
    else if (!part.isUncertain && !sent.acknowledged) sent.isRefused = true;
    if (!this.#isPlain(part, status, type)) return;
    if (!oracle.mustAllow(sent.channel, sent.who, "publish", from, to)) return;
    this.#server.refuses(
      `${sent.content.id} by ${who} was answered ${status} ${type}`,
      sent.channel,
      who,
      operation,
      to,
    );
  }

  /** Whether only settings can explain a refusal, and not a sender, a restriction, a size or a key. */
  #isPlain({ sent, body }: Part, status: number, type: string): boolean {
    return sent.restriction === null && !("sender" in body) && status !== 413 && !type.endsWith("key-reused");
  }

  /** Once a channel has begun, the API-key client needs nothing from D1. It may wait one second for settings, rarely. */
  #noteWait(places: readonly Place[], { from, label }: Operation): void {
    const { clock, oracle } = this.#stage;
    const waited = clock.elapsed - from.elapsed;
    if (waited === 0) return;
    // A batch to two channels waits if one of them has to.
    const mayWait = places.filter((place) => {
      const since = from.elapsed - this.#waitedAt[place];
      return since <= 0 || since >= WAIT_AGAIN_AFTER_MS;
    });
    for (const place of mayWait.length === 1 ? mayWait : []) this.#waitedAt[place] = clock.elapsed;
    if (waited <= LONGEST_WAIT_MS && mayWait.length > 0) return;
    const again = mayWait.length === 0 ? " again" : "";
    oracle.fail("D1 that hangs delays no request", `${label} to ${places.join()} waited ${waited} ms${again}`);
  }

  #newMessage(channel: string, who: Who, content: Content, more: Pick<Sent, "restriction" | "sender">): Sent {
    const { oracle, clock } = this.#stage;
    const { restriction, sender } = more;
    const sent: Sent = {
      content,
      channel,
      action: "event",
      who: this.#stage.identityOf(who),
      sender,
      restriction,
      from: clock.moment(),
      to: undefined,
      acknowledged: undefined,
      isRefused: false,
    };
    oracle.sends(sent);
    return sent;
  }

  #bodyOf({ channel, content, restriction }: Sent, attributed: boolean): object {
    return {
      channel,
      message: content,
      ...(restriction !== null && { database: restriction }),
      ...(attributed && { sender: { database: this.#stage.id, id: 7 } }),
    };
  }
}

/** Returns one result per message, also if the server refused the whole request. */
async function resultsOf(answer: Response, count: number): Promise<Result[]> {
  const body = await answer.json<Result & { results?: Result[] }>();
  return body.results ?? Array.from({ length: count }, () => ({ ...body, status: answer.status }));
}
