import { useMemo, useSyncExternalStore } from "react";
import type { Channel } from "./channel.ts";
import type { ChannelOptions } from "./options.ts";
import type { ChannelsClient } from "./client.ts";
import { ChannelStore, type Snapshot } from "./store.ts";

export interface UseChannelOptions<In = unknown, Out = In> extends ChannelOptions<In, Out> {
  /** How many of the latest messages the hook keeps. By default 1,000. */
  keep?: number;
}

export interface UseChannel<In = unknown, Out = In> extends Snapshot<Out> {
  publish: Channel<In, Out>["publish"];
  send: Channel<In, Out>["send"];
}

/**
 * Joins a channel while the component is mounted, and renders the component again with each change.
 *
 * @param client Create it once, outside the component. Create `options.schema` there, too.
 */
export function useChannel<In = unknown, Out = In>(
  client: ChannelsClient,
  name: string,
  options: UseChannelOptions<In, Out> = {},
): UseChannel<In, Out> {
  const { history = false, presence = false, after, schema, keep = 1_000 } = options;
  const store = useMemo(() => {
    const joinOptions = { history, presence, ...(after !== undefined && { after }), ...(schema && { schema }) };
    return new ChannelStore<In, Out>({ client, name, options: joinOptions, keep });
    // A change of `after` has no effect: it matters only at the first join.
  }, [client, name, history, presence, schema, keep]);
  const snapshot = useSyncExternalStore(store.subscribe, store.snapshot, store.snapshot);
  return { ...snapshot, publish: store.publish, send: store.send };
}
