import { onTestFinished, vi } from "vitest";
import {
  type Channel,
  type ChannelError,
  type ChannelOptions,
  type ClientOptions,
  createClient,
} from "../../packages/client/src/client.ts";

/** Returns an array that collects the payloads of a channel's events of one kind. */
export function payloadsOf(channel: Channel<never, unknown>, kind: "event" | "message" | "private"): unknown[] {
  const payloads: unknown[] = [];
  channel.on(kind, ({ payload }) => payloads.push(payload));
  return payloads;
}

export const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 30_000, interval: 5 });

/** Returns the error that a promise rejects with. */
export const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error as ChannelError,
  );

/** Opens a client's channel. Closes it at the end of the test. */
export function openChannel<In = unknown, Out = In>(
  options: ClientOptions,
  name: string,
  channelOptions: ChannelOptions<In, Out> = {},
): Channel<In, Out> {
  const channel = createClient(options).channel(name, channelOptions);
  onTestFinished(() => channel.close());
  return channel;
}

/** Opens a client's channel and waits until it has joined. */
export async function joinChannel<In = unknown, Out = In>(
  options: ClientOptions,
  name: string,
  channelOptions: ChannelOptions<In, Out> = {},
): Promise<Channel<In, Out>> {
  const channel = openChannel(options, name, channelOptions);
  await until(() => channel.status === "online");
  return channel;
}
