import { onTestFinished, vi } from "vitest";
import {
  type Channel,
  type ChannelError,
  type ChannelOptions,
  type ClientOptions,
  createClient,
} from "../../src/client/client.ts";

/** All that a channel says of a kind, as it comes. */
export function heard(channel: Channel<never, unknown>, kind: "event" | "message" | "private"): unknown[] {
  const payloads: unknown[] = [];
  channel.on(kind, ({ payload }) => payloads.push(payload));
  return payloads;
}

export const until = (condition: () => unknown) => vi.waitUntil(condition, { timeout: 30_000, interval: 5 });

/** What a promise was rejected with. */
export const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error: unknown) => error as ChannelError,
  );

/** A client's channel, left with its test. */
export function enter<In = unknown, Out = In>(
  options: ClientOptions,
  name: string,
  wishes: ChannelOptions<In, Out> = {},
): Channel<In, Out> {
  const channel = createClient(options).channel(name, wishes);
  onTestFinished(() => channel.close());
  return channel;
}

/** The same, once it has joined. */
export async function joined<In = unknown, Out = In>(
  options: ClientOptions,
  name: string,
  wishes: ChannelOptions<In, Out> = {},
): Promise<Channel<In, Out>> {
  const channel = enter(options, name, wishes);
  await until(() => channel.status === "online");
  return channel;
}
