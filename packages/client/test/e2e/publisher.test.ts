import { describe, expect, it, onTestFinished } from "vitest";
import { createPublisher, type Publisher, type PublisherOptions } from "../../src/publisher.ts";
import { failure, joinChannel, payloadsOf, until } from "../../../../test/support/client.ts";
import { FaultyProxy } from "../../../../test/support/faulty-proxy.ts";
import { history, newChannel, newRoom, target } from "../../../../test/e2e/support.ts";

/** Returns a publisher that is closed at the end of the test. */
function newPublisher(options: Partial<PublisherOptions> = {}): Publisher {
  const publisher = createPublisher({ ...target(), ...options });
  onTestFinished(async () => publisher.close());
  return publisher;
}

const stored = async (channel: string) =>
  (await history(target(), channel, "?limit=1000")).messages.map(({ payload }) => payload as unknown);

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

describe("a publisher", () => {
  it("publishes to many channels over one socket, in order, and resolves to the positions (PUB7)", async () => {
    const channels = numbers(10).map(() => newChannel());
    const publisher = newPublisher();
    const places = await Promise.all(
      numbers(200).map((n) => publisher.publish(channels[n % channels.length] ?? "", n).then(({ seq }) => seq)),
    );
    expect(places).toEqual(numbers(200).map((n) => Math.ceil(n / channels.length)));
    for (const [index, channel] of channels.entries()) {
      expect(await stored(channel)).toEqual(numbers(200).filter((n) => n % channels.length === index));
    }
  });

  it("passes on type, sender, ephemeral and id, and stores an id once (IDM6)", async () => {
    const name = await newRoom(target());
    const witness = await joinChannel(target(), name);
    const frames: unknown[] = [];
    witness.on("event", (event) => frames.push([event.payload, event.options.type]));
    witness.on("ephemeral", "price", ({ action, payload }) => frames.push([action, payload]));
    const publisher = newPublisher();
    const first = await publisher.publish(name, 1, { type: "order.created", id: `order-${name.slice(-36)}` });
    const again = await publisher.publish(name, 1, { type: "order.created", id: `order-${name.slice(-36)}` });
    expect(again).toEqual(first);
    expect(await publisher.publish(name, 2, { type: "price", ephemeral: true })).toBeUndefined();
    await until(() => frames.length === 2);
    expect(frames).toEqual([
      [1, "order.created"],
      ["event", 2],
    ]);
    expect(await failure(publisher.publish(name, 3, { sender: { database: "none", id: 1 } }))).toMatchObject({
      field: "options.sender.database",
    });
  });

  it("rejects what the server refuses, and publishes the rest", async () => {
    const name = newChannel();
    const publisher = newPublisher();
    const outcomes = await Promise.all([
      publisher.publish(name, 1),
      failure(publisher.publish("not a channel", 2)),
      failure(publisher.publish(name, "x".repeat(70_000))),
      failure(publisher.publish(name, 3, { type: "not a type" })),
      publisher.publish(name, 4),
    ]);
    expect(outcomes).toMatchObject([
      { seq: 1 },
      { code: "invalid-field", field: "options.channel" },
      { code: "too-large", limit: 65_536 },
      { code: "invalid-field", field: "options.type" },
      { seq: 2 },
    ]);
  });

  it("rejects with the reason if its API key is wrong (AUT1)", async () => {
    const publisher = newPublisher({ apiKey: "not-the-key-of-this-server" });
    expect(await failure(publisher.publish(newChannel(), 1))).toMatchObject({ code: "unauthorized" });
  });

  it("publishes everything before it closes, and nothing afterwards", async () => {
    const name = newChannel();
    const publisher = newPublisher();
    const places = numbers(100).map((n) => publisher.publish(name, n));
    await publisher.close();
    expect((await Promise.all(places)).map(({ seq }) => seq)).toEqual(numbers(100));
    expect(await failure(publisher.publish(name, 101))).toMatchObject({ code: "closed" });
  });

  it("accepts only a number of events in flight that the server can handle", () => {
    for (const maxInFlight of [0, 1_001, 1.5]) {
      expect(() => createPublisher({ ...target(), maxInFlight })).toThrow("maxInFlight must be");
    }
  });
});

describe.runIf(target().url.startsWith("http://"))("a publisher whose connection fails", () => {
  async function newProxy(): Promise<FaultyProxy> {
    const proxy = await FaultyProxy.to(target().url);
    onTestFinished(() => proxy.close());
    return proxy;
  }

  it("sends everything that has no answer again, in order and with the same ids, twice in a row", async () => {
    const [proxy, name] = [await newProxy(), await newRoom(target())];
    const events = payloadsOf(await joinChannel(target(), name), "event");
    const publisher = newPublisher({ url: proxy.url });
    const places = [publisher.publish(name, 1)];
    await Promise.all(places);
    for (const [round, lost] of (["answers", "requests"] as const).entries()) {
      proxy.lose(lost);
      places.push(...numbers(50).map((n) => publisher.publish(name, 1 + round * 50 + n)));
      if (lost === "answers") await until(() => events.length === 51);
      proxy.cut();
    }
    expect((await Promise.all(places)).map(({ seq }) => seq)).toEqual(numbers(101));
    expect(await stored(name)).toEqual(numbers(101));
  });

  it("uses HTTP, with the same order and ids, while no socket can be opened", async () => {
    const [proxy, names] = [await newProxy(), [newChannel(), newChannel()]];
    let posts = 0;
    proxy.examine((path) => {
      if (path === "/message") posts += 1;
      return !path.startsWith("/socket");
    });
    const publisher = newPublisher({ url: proxy.url });
    const places = numbers(20).map((n) => publisher.publish(names[n % 2] ?? "", n, { type: "n" }));
    await Promise.all(places);
    expect(posts).toBeGreaterThanOrEqual(20);
    expect(await stored(names[0] ?? "")).toEqual(numbers(20).filter((n) => n % 2 === 0));
    expect(await stored(names[1] ?? "")).toEqual(numbers(20).filter((n) => n % 2 === 1));
    // What was published over HTTP is the same message as over a socket.
    const over = newPublisher();
    const id = `both-ways-${names[0]?.slice(-36)}`;
    const byHttp = await publisher.publish(names[0] ?? "", "once", { id });
    expect(await over.publish(names[0] ?? "", "once", { id })).toEqual(byHttp);
  });

  it("waits while the server cannot be reached at all", async () => {
    const [proxy, name] = [await newProxy(), newChannel()];
    proxy.block();
    const publisher = newPublisher({ url: proxy.url });
    const places = numbers(3).map((n) => publisher.publish(name, n));
    expect(await failure(publisher.publish(name, "now", { ephemeral: true }))).toMatchObject({ code: "unconfirmed" });
    proxy.open();
    expect((await Promise.all(places)).map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });
});
