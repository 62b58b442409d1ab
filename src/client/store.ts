import type { Client } from "../protocol/frames.ts";
import type { Channel } from "./channel.ts";
import type { Status } from "./events.ts";
import type { ChannelOptions, PublishOptions, SendOptions } from "./options.ts";
import type { ChannelsClient } from "./client.ts";
import { ChannelError } from "./errors.ts";
import type { Message, Position } from "./messages.ts";

/** A channel as it stands at one moment; a new object with each change. */
export interface Snapshot<Payload> {
  /** The latest events and messages, in order. */
  messages: readonly Message<Payload>[];
  presence: readonly Client[];
  /** This client as the others see it; undefined before it has joined. */
  me: Client | undefined;
  status: Status;
  /** The latest error since the channel went online. */
  error: ChannelError | undefined;
}

interface Opening<In, Out> {
  client: ChannelsClient;
  name: string;
  options: ChannelOptions<In, Out>;
  /** How many messages a snapshot holds. */
  keep: number;
}

/**
 * A channel as a store that may be subscribed to. It is joined while somebody is subscribed; whoever comes back later goes on
 * behind the last message seen.
 */
export class ChannelStore<In, Out> {
  readonly #opening: Opening<In, Out>;
  readonly #listeners = new Set<() => void>();
  #channel: Channel<In, Out> | undefined;
  #snapshot: Snapshot<Out> = { messages: [], presence: [], me: undefined, status: "connecting", error: undefined };
  /** What changed since the snapshot; undefined where nothing did. */
  #changes: (Partial<Snapshot<Out>> & { arrived: Message<Out>[] }) | undefined;

  constructor(opening: Opening<In, Out>) {
    this.#opening = opening;
  }

  readonly snapshot = (): Snapshot<Out> => this.#snapshot;

  /** Answers how to unsubscribe. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    this.#channel ??= this.#open();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#close();
    };
  };

  readonly publish = async (payload: In, options?: PublishOptions): Promise<Position> =>
    this.#joined().publish(payload, options);

  readonly send = (async (payload: In, options?: SendOptions & { to: string }) =>
    this.#joined().send(payload, options as never)) as Channel<In, Out>["send"];

  #joined(): Channel<In, Out> {
    if (this.#channel) return this.#channel;
    throw new ChannelError("closed", "Nothing that uses the channel is mounted.");
  }

  #open(): Channel<In, Out> {
    const { client, name, options } = this.#opening;
    const after = this.#snapshot.messages.at(-1)?.options.seq ?? options.after;
    const channel = client.channel(name, { ...options, ...(after !== undefined && { after }) });
    const arrived = (message: Message<Out>) => this.#change({}, message);
    channel.on("event", arrived);
    channel.on("message", arrived);
    channel.on("presence", ({ members }) => this.#change({ presence: members }));
    channel.on("status", (status) => {
      this.#change({ status, me: channel.me, ...(status === "online" && { error: undefined }) });
    });
    channel.on("error", (error) => this.#change({ error }));
    return channel;
  }

  #close(): void {
    this.#channel?.close();
    this.#channel = undefined;
    this.#tell();
    this.#snapshot = { ...this.#snapshot, status: "connecting", presence: [] };
  }

  /** Tells the listeners once of all that changes in one go: a history of 1,000 messages is one change. */
  #change(change: Partial<Snapshot<Out>>, message?: Message<Out>): void {
    if (!this.#changes) queueMicrotask(() => this.#tell());
    const arrived = this.#changes?.arrived ?? [];
    if (message) arrived.push(message);
    this.#changes = { ...this.#changes, ...change, arrived };
  }

  #tell(): void {
    if (!this.#changes) return;
    const { arrived, ...change } = this.#changes;
    this.#changes = undefined;
    const messages = [...this.#snapshot.messages, ...arrived].slice(-this.#opening.keep);
    this.#snapshot = { ...this.#snapshot, ...change, ...(arrived.length > 0 && { messages }) };
    for (const listener of this.#listeners) listener();
  }
}
