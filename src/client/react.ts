import { useMemo, useSyncExternalStore } from "react";
import type { Channel } from "./channel.ts";
import type { ChannelOptions } from "./options.ts";
import type { ChannelsClient } from "./client.ts";
import { ChannelStore, type Snapshot } from "./store.ts";

export interface UseChannelOptions<In = unknown, Out = In> extends ChannelOptions<In, Out> {
  /** How many messages are held, the latest; 1,000 by default. */
  keep?: number;
}

export interface UseChannel<In = unknown, Out = In> extends Snapshot<Out> {
  publish: Channel<In, Out>["publish"];
  send: Channel<In, Out>["send"];
}

/**
 * A channel in a component: joined while it is mounted, and rendered anew with each change.
 *
 * @param client Made once, outside of the component. The same holds for `options.schema`.
 */
export function useChannel<In = unknown, Out = In>(
  client: ChannelsClient,
  name: string,
  options: UseChannelOptions<In, Out> = {},
): UseChannel<In, Out> {
  const { history = false, presence = false, after, schema, keep = 1_000 } = options;
  const store = useMemo(() => {
    const wishes = { history, presence, ...(after !== undefined && { after }), ...(schema && { schema }) };
    return new ChannelStore<In, Out>({ client, name, options: wishes, keep });
    // Where to begin matters when the channel is first joined, and never again.
  }, [client, name, history, presence, schema, keep]);
  const snapshot = useSyncExternalStore(store.subscribe, store.snapshot, store.snapshot);
  return { ...snapshot, publish: store.publish, send: store.send };
}
