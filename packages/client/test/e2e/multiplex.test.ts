import { describe, expect, it, onTestFinished, vi } from "vitest";
import { type Channel, type ChannelError, type ClientOptions, createClient } from "../../src/client.ts";
import { payloadsOf, until } from "../../../../test/support/client.ts";
import { FaultyProxy } from "../../../../test/support/faulty-proxy.ts";
import { call, history, newChannel, newRoom, publish, target, tokenFor } from "../../../../test/e2e/support.ts";

const settingsOf = (channel: string) => `/channels/${encodeURIComponent(channel)}`;

/** Returns a function that opens channels of one client, which are closed at the end of the test, and the paths of its requests. */
async function newClient(options: Omit<ClientOptions, "url"> = {}) {
  const proxy = await FaultyProxy.to(target().url);
  const client = createClient({ ...options, url: proxy.url, multiplex: true });
  const paths: string[] = [];
  proxy.examine((path) => paths.push(path) > 0);
  onTestFinished(() => proxy.close());
  const open = (name: string, channelOptions: { presence?: boolean; history?: boolean } = {}): Channel => {
    const channel = client.channel(name, channelOptions);
    onTestFinished(() => channel.close());
    return channel;
  };
  return { proxy, open, paths };
}

const areOnline = (channels: readonly Channel[]) => until(() => channels.every(({ status }) => status === "online"));

describe.runIf(target().url.startsWith("http://"))("channels that share a connection (MUX8)", () => {
  it("use one socket, and each gets its own messages, members and answers", async () => {
    const names = await Promise.all([1, 2, 3].map(() => newRoom(target())));
    const { open, paths } = await newClient();
    const rooms = names.map((name) => open(name, { presence: true }));
    await areOnline(rooms);
    const messages = rooms.map((room) => payloadsOf(room, "message"));
    const places = await Promise.all(rooms.flatMap((room, n) => [room.send(`${n} a`), room.send(`${n} b`)]));
    expect(places.map(({ seq }) => seq)).toEqual([1, 2, 1, 2, 1, 2]);
    await until(() => messages.every(({ length }) => length === 2));
    expect(messages).toEqual([0, 1, 2].map((n) => [`${n} a`, `${n} b`]));
    expect(rooms.map(({ presence }) => presence.length)).toEqual([1, 1, 1]);
    expect(paths).toEqual(["/socket?frames=batch"]);
  });

  it("join while the connection is open, and leave without closing it for the others", async () => {
    const [one, two] = [await newRoom(target()), await newRoom(target())];
    const { open, paths } = await newClient();
    const first = open(one);
    await areOnline([first]);
    const second = open(two);
    await areOnline([second]);
    first.close();
    const present = async () => {
      const answer = await call(target(), "GET", `${settingsOf(one)}/presence`);
      return ((await answer.json()) as { total: number }).total;
    };
    await until(async () => (await present()) === 0);
    expect(await second.send("still here")).toMatchObject({ seq: 1 });
    const again = open(one);
    await areOnline([again]);
    expect(await again.send("back")).toMatchObject({ seq: 1 });
    expect(paths).toHaveLength(1);
  });

  it("are opened twice without confusing their messages", async () => {
    const name = await newRoom(target());
    const { open, paths } = await newClient();
    const rooms = [open(name), open(name)];
    await areOnline(rooms);
    const messages = rooms.map((room) => payloadsOf(room, "message"));
    await rooms[0]?.send("hello");
    await until(() => messages.every(({ length }) => length === 1));
    expect(paths).toHaveLength(2);
  });

  it("reconnect together, resume, and send what has no answer once", async () => {
    const names = [await newRoom(target()), await newRoom(target())];
    const { proxy, open } = await newClient();
    const rooms = names.map((name) => open(name));
    await areOnline(rooms);
    const seen = rooms.map((room) => payloadsOf(room, "event"));
    const resumed = vi.fn();
    rooms.forEach((room) => room.on("resumed", resumed));
    proxy.lose("answers");
    const places = rooms.map((room) => room.send("once"));
    await until(async () =>
      (await Promise.all(names.map((name) => history(target(), name)))).every(({ seq }) => seq === 1),
    );
    proxy.block();
    await until(() => rooms.every(({ status }) => status === "offline"));
    for (const name of names) await publish(target(), name, "missed");
    proxy.open();
    expect((await Promise.all(places)).map(({ seq }) => seq)).toEqual([1, 1]);
    await until(() => resumed.mock.calls.length === 2);
    expect(seen).toEqual([["missed"], ["missed"]]);
    for (const name of names) expect((await history(target(), name)).seq).toBe(2);
  });

  it("fail alone: a refused join is tried again, and the other channel stays online", async () => {
    const [good, bad] = [await newRoom(target()), newChannel()];
    const { open } = await newClient();
    const rooms = [open(good), open(bad)] as const;
    const errors: ChannelError[] = [];
    rooms[1].on("error", (error) => errors.push(error));
    await areOnline([rooms[0]]);
    await until(() => errors.length > 0 && rooms[1].status === "offline");
    expect(["unauthorized", "forbidden"]).toContain(errors[0]?.code);
    const settings = { anonymous_clients: true, public_messaging: { active: true } };
    expect((await call(target(), "PUT", settingsOf(bad), settings)).status).toBe(200);
    await areOnline(rooms);
    expect(await rooms[1].send("at last")).toMatchObject({ seq: 1 });
  });

  it("close alone if the settings no longer admit the client (CON6, MUX3)", async () => {
    const names = [await newRoom(target()), await newRoom(target())] as const;
    const { open } = await newClient();
    const rooms = [open(names[0]), open(names[1])] as const;
    await areOnline(rooms);
    expect((await call(target(), "PUT", settingsOf(names[0]), { active: false })).status).toBe(200);
    await until(() => rooms[0].status === "closed");
    expect(await rooms[1].send("still here")).toMatchObject({ seq: 1 });
  });

  it("continue with a new token when the old one has expired (AUT7)", async () => {
    const { channel, database } = await tokenFor(target(), newChannel(), 7);
    const token = vi.fn(async () => {
      const expires_in = token.mock.calls.length === 1 ? 2 : 600;
      const answer = await call(target(), "POST", `/databases/${database}/tokens`, { id: 7, expires_in });
      return ((await answer.json()) as { token: string }).token;
    });
    const { open } = await newClient({ token });
    const room = open(channel);
    const statuses: string[] = [];
    room.on("status", (status) => statuses.push(status));
    await until(() => token.mock.calls.length > 1 && statuses.includes("offline") && room.status === "online");
    expect(await room.send("still here")).toMatchObject({ seq: 1 });
  });
});
