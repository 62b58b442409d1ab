import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { Client } from "../../../src/protocol/frames.ts";
import type { Channel } from "./channel.ts";
import type { ChannelsClient } from "./client.ts";
import { Emitter } from "./emitter.ts";
import { ChannelError } from "./errors.ts";
import type { ChannelEvents, MessageKind, Status } from "./events.ts";
import type { HistoryOptions } from "./history.ts";
import { newId } from "./ids.ts";
import { NO_MEMBERS, type Presence } from "./members.ts";
import { type MessageEntry, MessageList } from "./message-list.ts";
import type { Resumed } from "./message-sequencer.ts";
import type { Message, Position } from "./messages.ts";
import type { PublishOptions, SendOptions } from "./options.ts";
import { validate } from "./schema.ts";

/** The state of a channel at one moment. Each change creates a new snapshot. */
export interface Snapshot<Payload> {
  /** The latest events and messages in the order of `seq`, and then those that this client is sending. */
  messages: readonly MessageEntry<Payload>[];
  presence: Presence;
  /** This client, as other clients see it. Undefined before the first join. */
  me: Client | undefined;
  status: Status;
  /** The latest error. Cleared when the channel is online. */
  error: ChannelError | undefined;
  /** The result of the latest reconnect. Undefined before the first one. */
  resumed: Resumed | undefined;
}

/** What a user of the store needs. The channel is joined with all that its users need together. */
export interface Needs {
  history?: boolean;
  presence?: boolean;
  after?: number | undefined;
  /** How many messages a snapshot holds. */
  keep?: number;
}

/** The events that a store passes on, whichever channel object it has at the moment. */
const PASSED_ON = ["event", "message", "private", "ephemeral", "status", "resumed", "presence", "error"] as const;
type PassedOn = (typeof PASSED_ON)[number];

/**
 * A channel as a store, for React's `useSyncExternalStore`. All components that use the same channel share it, so they share
 * one connection and are one member. It joins the channel while it has listeners. When it joins again, it resumes after the
 * last message that it received.
 */
export class ChannelStore<In, Out> {
  readonly #client: ChannelsClient;
  readonly #name: string;
  readonly #schema: StandardSchemaV1<In, Out> | undefined;
  readonly #used: (isUsed: boolean) => void;
  readonly #listeners = new Map<() => void, Needs>();
  readonly #events = new Emitter<ChannelEvents<Out>>();
  #list = new MessageList<Out>();
  #channel: Channel<In, Out> | undefined;
  /** Whether the channel was joined with its history. */
  #hasHistory = false;
  #snapshot: Snapshot<Out> = INITIAL;
  /** The changes since the snapshot. Undefined if nothing has changed. */
  #changes: Partial<Snapshot<Out>> | undefined;

  /** @param used Called when the store has listeners, and when the last one is gone. */
  constructor(
    client: ChannelsClient,
    name: string,
    schema?: StandardSchemaV1<In, Out>,
    used: (isUsed: boolean) => void = () => {},
  ) {
    this.#client = client;
    this.#name = name;
    this.#schema = schema;
    this.#used = used;
  }

  readonly snapshot = (): Snapshot<Out> => this.#snapshot;

  /** Calls a listener after each change. Returns a function that removes the listener. */
  readonly subscribe = (listener: () => void, needs: Needs = {}): (() => void) => {
    // React may use the same function for several components.
    const own = () => listener();
    this.#listeners.set(own, needs);
    // Components that are mounted together join once, with all that they need.
    queueMicrotask(() => this.#adapt());
    return () => {
      this.#listeners.delete(own);
      // Under StrictMode, React removes the listener and adds it again at once.
      queueMicrotask(() => this.#adapt());
    };
  };

  /** Like `Channel.on`. */
  readonly on = ((kind: MessageKind, ...rest: [string, never] | [never]) => {
    const handler = rest.at(-1) as unknown as (value: ChannelEvents<Out>[MessageKind]) => void;
    const type = rest.length === 2 ? rest[0] : undefined;
    return this.#events.on(kind, (value) => (type === undefined || value.options.type === type) && handler(value));
  }) as Channel<In, Out>["on"];

  readonly publish = (async (payload: In, options?: PublishOptions) =>
    this.#opened().publish(payload, options as never)) as Channel<In, Out>["publish"];

  /** Sends a message, which is part of the snapshot from now on. A private message is not. */
  readonly send = (async (payload: In, options?: SendOptions) => {
    const channel = this.#opened();
    if (options?.to !== undefined) return channel.send(payload, options as never);
    const { to: _, id = newId(), ...more } = options ?? {};
    const entry = {
      key: id,
      state: "pending" as const,
      action: "message" as const,
      client: channel.me,
      options: { channel: this.#name, id, type: more.type },
      payload: validate(this.#schema, payload),
    };
    this.#list.add(entry);
    this.#sources.set(id, { payload, options: { ...more, id } });
    this.#change({});
    return this.#send(id);
  }) as Channel<In, Out>["send"];

  /** Sends a failed message again, with the same id. */
  readonly retry = async ({ options }: MessageEntry): Promise<void> => {
    if (options.id === undefined || !this.#sources.has(options.id)) return;
    this.#list.retried(options.id);
    this.#change({});
    // The entry shows the outcome.
    await this.#send(options.id).catch(() => {});
  };

  /** Removes a failed message. */
  readonly discard = ({ key }: MessageEntry): void => {
    this.#list.discard(key);
    this.#sources.delete(key);
    this.#change({});
  };

  readonly sendEphemeral = async (payload: In, options?: Omit<SendOptions, "to">): Promise<void> =>
    this.#opened().sendEphemeral(payload, options);

  readonly setPresence = async (state: Record<string, unknown>): Promise<void> => this.#opened().setPresence(state);

  readonly history = (options?: HistoryOptions): AsyncGenerator<Message<Out>[]> => this.#opened().history(options);

  /** What is needed to send a failed message again, by its id. */
  readonly #sources = new Map<string, { payload: In; options: Omit<SendOptions, "to"> }>();

  async #send(id: string): Promise<Position> {
    const source = this.#sources.get(id);
    if (!source) throw NOT_MOUNTED();
    try {
      const position = await this.#opened().send(source.payload, source.options);
      this.#sources.delete(id);
      this.#list.confirmed(id, position);
      this.#change({});
      return position;
    } catch (error) {
      this.#list.failed(id, error as ChannelError);
      this.#change({});
      throw error;
    }
  }

  #opened(): Channel<In, Out> {
    if (this.#channel) return this.#channel;
    if (this.#listeners.size === 0) throw NOT_MOUNTED();
    return this.#open();
  }

  /** Opens or closes the channel, as its listeners need it. */
  #adapt(): void {
    this.#used(this.#listeners.size > 0);
    if (this.#listeners.size === 0) return this.#close();
    const { history, presence } = this.#needs();
    if (!this.#channel) this.#open();
    else if (history && !this.#hasHistory) {
      // The history begins before the messages that have arrived.
      this.#list = new MessageList();
      this.#open();
    } else if (presence) this.#channel.watchPresence();
  }

  #needs() {
    const all = [...this.#listeners.values()];
    return {
      history: all.some(({ history }) => history === true),
      presence: all.some(({ presence }) => presence === true),
      after: all.find(({ after }) => after !== undefined)?.after,
      keep: Math.max(0, ...all.map(({ keep = 0 }) => keep)),
    };
  }

  #open(): Channel<In, Out> {
    this.#channel?.close();
    const { history, presence, after: first } = this.#needs();
    this.#hasHistory = history;
    const after = this.#list.last ?? first;
    const schema = this.#schema;
    const channel = this.#client.channel(this.#name, {
      history,
      presence,
      ...(after !== undefined && { after }),
      ...(schema && { schema }),
    });
    this.#channel = channel;
    const arrived = (message: Message<Out>) => {
      this.#list.delivered(message);
      this.#change({});
    };
    channel.on("event", arrived);
    channel.on("message", arrived);
    channel.on("presence", (members) => this.#change({ presence: members }));
    channel.on("status", (status) => {
      if (this.#channel !== channel) return;
      this.#change({ status, me: channel.me, ...(status === "online" && { error: undefined }) });
    });
    channel.on("resumed", (resumed) => this.#change({ resumed }));
    channel.on("error", (error) => this.#change({ error }));
    for (const kind of PASSED_ON) this.#passOn(channel, kind);
    return channel;
  }

  #passOn(channel: Channel<In, Out>, kind: PassedOn): void {
    channel.on(kind, (value) => this.#channel === channel && this.#events.emit(kind, value));
  }

  #close(): void {
    const channel = this.#channel;
    this.#channel = undefined;
    channel?.close();
    this.#changes = undefined;
    this.#snapshot = { ...this.#snapshot, status: "connecting", presence: NO_MEMBERS };
  }

  /** Notifies the listeners once for all changes of one task: a history of 1,000 messages is one change. */
  #change(change: Partial<Snapshot<Out>>): void {
    if (!this.#changes) queueMicrotask(() => this.#notify());
    this.#changes = { ...this.#changes, ...change };
  }

  #notify(): void {
    if (!this.#changes) return;
    this.#snapshot = { ...this.#snapshot, ...this.#changes, messages: this.#list.entries(this.#needs().keep) };
    this.#changes = undefined;
    for (const listener of this.#listeners.keys()) listener();
  }
}

const INITIAL = {
  messages: [],
  presence: NO_MEMBERS,
  me: undefined,
  status: "connecting" as const,
  error: undefined,
  resumed: undefined,
};

const NOT_MOUNTED = () =>
  new ChannelError("closed", "No component that uses the channel is mounted, so nothing was sent.");
