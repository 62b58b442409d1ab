import type { Client } from "../../../src/protocol/frames.ts";
import type { Member } from "./members.ts";
import type { Channel } from "./channel.ts";
import type { Status } from "./events.ts";
import type { ChannelOptions, PublishOptions, SendOptions } from "./options.ts";
import type { ChannelsClient } from "./client.ts";
import { ChannelError } from "./errors.ts";
import type { Message } from "./messages.ts";

/** The state of a channel at one moment. Each change creates a new snapshot. */
export interface Snapshot<Payload> {
  /** The latest events and messages, in the order of `seq`. */
  messages: readonly Message<Payload>[];
  /** The members of the channel. */
  presence: readonly Member[];
  /** This client, as other clients see it. Undefined before the first join. */
  me: Client | undefined;
  status: Status;
  /** The latest error. Cleared when the channel is online. */
  error: ChannelError | undefined;
}

interface ChannelStoreDeps<In, Out> {
  client: ChannelsClient;
  name: string;
  options: ChannelOptions<In, Out>;
  /** How many messages a snapshot holds. */
  keep: number;
}

/**
 * A channel as a store, for React's `useSyncExternalStore`. It joins the channel while it has listeners. When it joins again,
 * it resumes after the last message that it received.
 */
export class ChannelStore<In, Out> {
  readonly #deps: ChannelStoreDeps<In, Out>;
  readonly #listeners = new Set<() => void>();
  #channel: Channel<In, Out> | undefined;
  #snapshot: Snapshot<Out> = { messages: [], presence: [], me: undefined, status: "connecting", error: undefined };
  /** The changes since the snapshot. Undefined if nothing has changed. */
  #changes: (Partial<Snapshot<Out>> & { arrived: Message<Out>[] }) | undefined;

  constructor(deps: ChannelStoreDeps<In, Out>) {
    this.#deps = deps;
  }

  readonly snapshot = (): Snapshot<Out> => this.#snapshot;

  /** Calls a listener after each change. Returns a function that removes the listener. */
  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    this.#channel ??= this.#open();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#close();
    };
  };

  readonly publish = (async (payload: In, options?: PublishOptions) =>
    this.#joined().publish(payload, options as never)) as Channel<In, Out>["publish"];

  readonly send = (async (payload: In, options?: SendOptions & { to: string }) =>
    this.#joined().send(payload, options as never)) as Channel<In, Out>["send"];

  #joined(): Channel<In, Out> {
    if (this.#channel) return this.#channel;
    throw new ChannelError("closed", "No component that uses the channel is mounted, so nothing was sent.");
  }

  #open(): Channel<In, Out> {
    const { client, name, options } = this.#deps;
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
    this.#notify();
    this.#snapshot = { ...this.#snapshot, status: "connecting", presence: [] };
  }

  /** Notifies the listeners once for all changes of one task: a history of 1,000 messages is one change. */
  #change(change: Partial<Snapshot<Out>>, message?: Message<Out>): void {
    if (!this.#changes) queueMicrotask(() => this.#notify());
    const arrived = this.#changes?.arrived ?? [];
    if (message) arrived.push(message);
    this.#changes = { ...this.#changes, ...change, arrived };
  }

  #notify(): void {
    if (!this.#changes) return;
    const { arrived, ...change } = this.#changes;
    this.#changes = undefined;
    const messages = [...this.#snapshot.messages, ...arrived].slice(-this.#deps.keep);
    this.#snapshot = { ...this.#snapshot, ...change, ...(arrived.length > 0 && { messages }) };
    for (const listener of this.#listeners) listener();
  }
}
