import type { StandardSchemaV1 } from "@standard-schema/spec";
import {
  createContext,
  createElement,
  type ReactNode,
  useCallback,
  useContext,
  useMemo,
  useSyncExternalStore,
} from "react";
import type { Client } from "../../../src/protocol/frames.ts";
import type { Channel } from "./channel.ts";
import type { ChannelsClient } from "./client.ts";
import type { ChannelError } from "./errors.ts";
import type { Status } from "./events.ts";
import type { Member } from "./members.ts";
import type { MessageEntry } from "./message-list.ts";
import type { Resumed } from "./message-sequencer.ts";
import type { ChannelOptions } from "./options.ts";
import { ChannelStore, type Needs, type Snapshot } from "./store.ts";

export type { MessageEntry } from "./message-list.ts";

export interface UseChannelOptions<In = unknown, Out = In> extends ChannelOptions<In, Out> {
  /** How many of the latest messages the hook keeps. By default 1,000. */
  keep?: number;
}

export interface UseChannel<In = unknown, Out = In> extends Omit<Snapshot<Out>, "presence"> {
  /** The members of the channel. */
  presence: readonly Member[];
  /** Calls a handler with each event of a kind, like `Channel.on`. Use it in an effect. */
  on: Channel<In, Out>["on"];
  history: Channel<In, Out>["history"];
  publish: Channel<In, Out>["publish"];
  /** Sends a message. It is in `messages` at once, with its own state. */
  send: Channel<In, Out>["send"];
  sendEphemeral: Channel<In, Out>["sendEphemeral"];
  setPresence: Channel<In, Out>["setPresence"];
  /** Sends a failed message again. It is stored once, even if the server has stored it before. */
  retry: (entry: MessageEntry) => Promise<void>;
  /** Removes a failed message from `messages`. */
  discard: (entry: MessageEntry) => void;
}

export interface UsePresence {
  members: readonly Member[];
  /** The number of all members. The server lists at most 1,000 (PRE5). */
  total: number;
  /** This client. Undefined before the first join. */
  me: Client | undefined;
  setPresence: Channel["setPresence"];
}

export interface UseConnection {
  status: Status;
  /** The latest error. Undefined while the channel is online. */
  error: ChannelError | undefined;
  /** The result of the latest reconnect. */
  resumed: Resumed | undefined;
}

const ClientContext = createContext<ChannelsClient | undefined>(undefined);

/** Gives a client to all hooks below it. Create the client once, outside the component. */
export function ChannelsProvider({ client, children }: { client: ChannelsClient; children?: ReactNode }): ReactNode {
  return createElement(ClientContext.Provider, { value: client }, children);
}

/**
 * Joins a channel while the component is mounted, and renders the component again with each change. Components that use the
 * same channel share one connection.
 *
 * @param client By default the client of the `ChannelsProvider`. Create it once, outside the component. Create
 *   `options.schema` there, too.
 */
export function useChannel<In = unknown, Out = In>(
  client: ChannelsClient,
  name: string,
  options?: UseChannelOptions<In, Out>,
): UseChannel<In, Out>;
export function useChannel<In = unknown, Out = In>(
  name: string,
  options?: UseChannelOptions<In, Out>,
): UseChannel<In, Out>;
export function useChannel<In, Out>(
  first: ChannelsClient | string,
  second?: string | UseChannelOptions<In, Out>,
  third?: UseChannelOptions<In, Out>,
): UseChannel<In, Out> {
  const [client, name] = typeof first === "string" ? [undefined, first] : [first, second as string];
  const options = (typeof second === "object" ? second : third) ?? {};
  const { history = false, presence = false, keep = 1_000, after, schema } = options;
  const store = useStore<In, Out>(client, name, schema);
  const subscribe = useSubscribe(store, { history, presence, keep, after });
  const snapshot = useSyncExternalStore(subscribe, store.snapshot, store.snapshot);
  const messages = useMemo(() => latest(snapshot.messages, keep), [snapshot.messages, keep]);
  const { on, publish, send, sendEphemeral, setPresence, retry, discard } = store;
  const actions = { on, history: store.history, publish, send, sendEphemeral, setPresence, retry, discard };
  return { ...snapshot, ...actions, messages, presence: snapshot.presence.members };
}

/** Joins a channel, and renders the component again with each change of its members. */
export function usePresence(name: string): UsePresence {
  const store = useStore(undefined, name);
  const subscribe = useSubscribe(store, { presence: true });
  const presenceOf = () => store.snapshot().presence;
  const { members, total } = useSyncExternalStore(subscribe, presenceOf, presenceOf);
  return { members, total, me: store.snapshot().me, setPresence: store.setPresence };
}

/** Joins a channel, and renders the component again with each change of its connection. */
export function useConnection(name: string): UseConnection {
  const store = useStore(undefined, name);
  const subscribe = useSubscribe(store, {});
  const statusOf = () => store.snapshot().status;
  const errorOf = () => store.snapshot().error;
  const resumedOf = () => store.snapshot().resumed;
  return {
    status: useSyncExternalStore(subscribe, statusOf, statusOf),
    error: useSyncExternalStore(subscribe, errorOf, errorOf),
    resumed: useSyncExternalStore(subscribe, resumedOf, resumedOf),
  };
}

/** Returns the stored messages beyond the latest ones left out. Messages that are being sent always stay. */
function latest<P>(messages: readonly MessageEntry<P>[], keep: number): readonly MessageEntry<P>[] {
  const stored = messages.filter(({ options }) => options.seq !== undefined).length;
  return stored <= keep ? messages : messages.slice(stored - keep);
}

function useSubscribe(store: Pick<ChannelStore<never, never>, "subscribe">, { history, presence, keep, after }: Needs) {
  return useCallback(
    (listener: () => void) =>
      store.subscribe(listener, {
        ...(history && { history }),
        ...(presence && { presence }),
        ...(keep !== undefined && { keep }),
        after,
      }),
    // A change of `after` has no effect: it matters only at the first join.
    [store, history, presence, keep],
  );
}

type Schema<In, Out> = StandardSchemaV1<In, Out> | undefined;
type AnyStore = ChannelStore<never, unknown>;

/** The stores of each client that have or had listeners, by channel. Stores of one channel differ in their schemas. */
const STORES = new WeakMap<ChannelsClient, Map<string, { schema: unknown; store: AnyStore }[]>>();

function useStore<In, Out>(given: ChannelsClient | undefined, name: string, schema?: Schema<In, Out>) {
  const provided = useContext(ClientContext);
  const client = given ?? provided;
  if (!client) throw new Error("There is no client. Wrap the component in <ChannelsProvider client={createClient()}>.");
  return useMemo(() => storeOf<In, Out>(client, name, schema), [client, name, schema]);
}

/** Returns the store that all uses of a channel share. A use without a schema shares any. */
function storeOf<In, Out>(client: ChannelsClient, name: string, schema: Schema<In, Out>): ChannelStore<In, Out> {
  const byName = STORES.get(client) ?? new Map<string, { schema: unknown; store: AnyStore }[]>();
  STORES.set(client, byName);
  const stores = byName.get(name) ?? [];
  const shared = stores.find((one) => schema === undefined || one.schema === schema);
  if (shared) return shared.store as unknown as ChannelStore<In, Out>;
  const store = new ChannelStore<In, Out>(client, name, schema, (isUsed) => {
    const others = (byName.get(name) ?? []).filter((one) => one !== entry);
    if (isUsed) byName.set(name, [...others, entry]);
    else if (others.length > 0) byName.set(name, others);
    else byName.delete(name);
  });
  const entry = { schema, store: store as unknown as AnyStore };
  byName.set(name, [...stores, entry]);
  return store;
}
