import { getEventListeners } from "node:events";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import type { Channel } from "../../src/client.ts";
import { joinChannel, openChannel, payloadsOf, until } from "../../../../test/support/client.ts";
import { FaultyProxy } from "../../../../test/support/faulty-proxy.ts";
import { call, history, newRoom, publish, target } from "../../../../test/e2e/support.ts";

/** Far less than the regular heartbeat needs to notice anything, or than the pauses between many failed attempts, in milliseconds. */
const SOON_MS = 10_000;
const soon = (condition: () => unknown) => vi.waitUntil(condition, { timeout: SOON_MS, interval: 5 });

/** The parts of a browser that the client listens to. The test fires their events, whatever the network really does. */
class FakeBrowser {
  readonly #window = new EventTarget();
  readonly #document = Object.assign(new EventTarget(), { visibilityState: "visible" });

  constructor() {
    vi.stubGlobal("addEventListener", this.#window.addEventListener.bind(this.#window));
    vi.stubGlobal("document", this.#document);
    onTestFinished(() => void vi.unstubAllGlobals());
  }

  fire(...types: ("online" | "offline")[]): void {
    for (const type of types) this.#window.dispatchEvent(new Event(type));
  }

  show(visibilityState: "visible" | "hidden"): void {
    this.#document.visibilityState = visibilityState;
    this.#document.dispatchEvent(new Event("visibilitychange"));
  }

  get listeners(): number {
    const [window, document] = [this.#window, this.#document];
    const all = [getEventListeners(window, "online"), getEventListeners(window, "offline")];
    return [...all, getEventListeners(document, "visibilitychange")].flat().length;
  }
}

/** A way to the server that counts how often a socket was requested. */
async function countingWay(): Promise<{ proxy: FaultyProxy; sockets: () => number }> {
  const proxy = await FaultyProxy.to(target().url);
  onTestFinished(() => proxy.close());
  let sockets = 0;
  proxy.examine((path) => {
    if (path.includes("/socket")) sockets += 1;
    return true;
  });
  return { proxy, sockets: () => sockets };
}

function statusesOf(room: Channel): string[] {
  const statuses: string[] = [];
  room.on("status", (status) => statuses.push(status));
  return statuses;
}

const stored = async (channel: string) =>
  (await history(target(), channel, "?limit=1000")).messages.map(({ payload }) => payload as unknown);

// What breaks here is a way that carries plain HTTP.
describe.runIf(target().url.startsWith("http://"))("a browser that loses its network", () => {
  it("soon shows offline, and reconnects as soon as the network returns, with each message once; twice in a row", async () => {
    const browser = new FakeBrowser();
    const [{ proxy, sockets }, name] = [await countingWay(), await newRoom(target())];
    const room = await joinChannel(proxy, name);
    const [events, messages, statuses] = [payloadsOf(room, "event"), payloadsOf(room, "message"), statusesOf(room)];
    for (const round of [1, 2]) {
      proxy.hold();
      browser.fire("offline");
      await soon(() => room.status === "offline");
      await publish(target(), name, `missed ${round}`);
      const sent = room.send(`sent ${round}`);
      proxy.abandon();
      browser.fire("online", "online");
      await soon(() => room.status === "online");
      expect(await sent).toMatchObject({ seq: 2 * round });
      await until(() => events.length === round && messages.length === round);
    }
    expect([events, messages]).toEqual([
      ["missed 1", "missed 2"],
      ["sent 1", "sent 2"],
    ]);
    expect(statuses).toEqual(["offline", "online", "offline", "online"]);
    expect(await stored(name)).toEqual(["missed 1", "sent 1", "missed 2", "sent 2"]);
    expect(sockets()).toBe(3);
  });

  it("sends a publish again whose request was on the connection that is dead, and it is stored once (IDM1)", async () => {
    const browser = new FakeBrowser();
    const [{ proxy }, name] = [await countingWay(), await newRoom(target())];
    const room = await joinChannel(proxy, name);
    const events = payloadsOf(await joinChannel(target(), name), "event");
    for (const round of [1, 2]) {
      // The server stores the event, and its answer is lost.
      proxy.lose("answers");
      const seqs: number[] = [];
      void room.publish(round).then(({ seq }) => seqs.push(seq));
      await until(() => events.length === round);
      proxy.abandon();
      proxy.find();
      browser.fire("offline", "online");
      await soon(() => seqs.length);
      expect(seqs).toEqual([round]);
    }
    expect(await stored(name)).toEqual([1, 2]);
  });

  it("for a moment keeps its connection and the messages that were on their way; twice in a row", async () => {
    const browser = new FakeBrowser();
    const [{ proxy, sockets }, name] = [await countingWay(), await newRoom(target())];
    const room = await joinChannel(proxy, name);
    const [messages, statuses] = [payloadsOf(room, "message"), statusesOf(room)];
    const joins = vi.fn();
    room.on("frame", ({ action }) => action === "join" && joins());
    for (const round of [1, 2]) {
      proxy.hold();
      const before = room.send(`before ${round}`);
      browser.fire("offline", "offline");
      await soon(() => room.status === "offline");
      const meanwhile = [room.send(`meanwhile ${round}`), room.publish(`published ${round}`)];
      browser.fire("online", "online");
      proxy.release();
      await soon(() => room.status === "online");
      await Promise.all([before, ...meanwhile]);
    }
    expect(messages).toEqual(["before 1", "meanwhile 1", "before 2", "meanwhile 2"]);
    const all = await stored(name);
    expect(all).toHaveLength(6);
    expect(all).toEqual(expect.arrayContaining([...messages, "published 1", "published 2"]));
    expect(statuses).toEqual(["offline", "online", "offline", "online"]);
    expect([sockets(), joins.mock.calls.length]).toEqual([1, 0]);
  });

  it("only according to its own report stays online, and sends", async () => {
    const browser = new FakeBrowser();
    vi.stubGlobal("navigator", { onLine: false });
    const [{ proxy, sockets }, name] = [await countingWay(), await newRoom(target())];
    const room = await joinChannel(proxy, name);
    const statuses = statusesOf(room);
    for (const round of [1, 2]) {
      browser.fire("offline");
      expect(await room.send("sent")).toMatchObject({ seq: round });
    }
    expect([statuses, sockets()]).toEqual([[], 1]);
    const other = openChannel(proxy, name);
    await soon(() => other.status === "online");
  });

  it("drops a connection that stays silent without waiting for the network to return", async () => {
    const browser = new FakeBrowser();
    const { proxy, sockets } = await countingWay();
    const room = await joinChannel(proxy, await newRoom(target()));
    const statuses = statusesOf(room);
    proxy.hold();
    browser.fire("offline");
    await soon(() => room.status === "offline");
    // The network is back, or was never gone for new connections, and the browser says nothing.
    proxy.abandon();
    await soon(() => room.status === "online");
    expect([statuses, sockets()]).toEqual([["offline", "online"], 2]);
  });
});

describe.runIf(target().url.startsWith("http://"))("a browser whose network returns, or whose page is shown", () => {
  const SIGNS: [sign: string, give: (browser: FakeBrowser) => void][] = [
    ["online", (browser) => browser.fire("online")],
    ["online, several times", (browser) => browser.fire("online", "online", "online")],
    ["visible", (browser) => browser.show("visible")],
    [
      "visible and online",
      (browser) => {
        browser.show("visible");
        browser.fire("online");
      },
    ],
  ];

  it.each(SIGNS)("keeps a connection that works: %s", async (_, give) => {
    const browser = new FakeBrowser();
    const [{ proxy, sockets }, name] = [await countingWay(), await newRoom(target())];
    const room = await joinChannel(proxy, name);
    const statuses = statusesOf(room);
    for (const round of [1, 2]) {
      give(browser);
      expect(await room.send(round)).toMatchObject({ seq: round });
    }
    expect([statuses, sockets()]).toEqual([[], 1]);
  });

  it.each(SIGNS)("replaces a connection that is dead, twice in a row: %s", async (_, give) => {
    const browser = new FakeBrowser();
    const [{ proxy, sockets }, name] = [await countingWay(), await newRoom(target())];
    const room = await joinChannel(proxy, name);
    const [statuses, messages] = [statusesOf(room), payloadsOf(room, "message")];
    for (const round of [1, 2]) {
      proxy.abandon();
      give(browser);
      // It waits for the connection that replaces the dead one, as nothing is known about that.
      expect(await room.send(round)).toMatchObject({ seq: round });
    }
    expect(statuses).toEqual(["offline", "online", "offline", "online"]);
    expect([await stored(name), messages, sockets()]).toEqual([[1, 2], [1, 2], 3]);
  });

  it.each(SIGNS.slice(1, 3))(
    "connects at once, and only once, without the pause between attempts: %s",
    async (_, give) => {
      // The pauses are as long as can be: after the fifth attempt almost five seconds.
      const random = vi.spyOn(Math, "random").mockReturnValue(0.999);
      onTestFinished(() => random.mockRestore());
      const browser = new FakeBrowser();
      const proxy = await FaultyProxy.to(target().url);
      onTestFinished(() => proxy.close());
      let [attempts, isBroken] = [0, true];
      proxy.examine((path) => {
        if (path.includes("/socket")) attempts += 1;
        return !isBroken;
      });
      const room = openChannel(proxy, await newRoom(target()));
      await until(() => attempts === 5);
      await until(() => room.status === "offline");
      browser.show("hidden");
      isBroken = false;
      give(browser);
      await vi.waitUntil(() => attempts === 6, { timeout: 3_000, interval: 5 });
      await until(() => room.status === "online");
      expect(attempts).toBe(6);
    },
  );

  it("does nothing while the page is hidden", async () => {
    const browser = new FakeBrowser();
    const { proxy, sockets } = await countingWay();
    const room = await joinChannel(proxy, await newRoom(target()));
    const statuses = statusesOf(room);
    browser.show("hidden");
    expect(await room.send("sent")).toMatchObject({ seq: 1 });
    expect([statuses, sockets()]).toEqual([[], 1]);
  });
});

describe("the client's listeners in a browser", () => {
  it("are removed once the channel is closed by the client or by the server", async () => {
    const browser = new FakeBrowser();
    const [one, two] = [
      await joinChannel(target(), await newRoom(target())),
      await joinChannel(target(), await newRoom(target())),
    ];
    expect(browser.listeners).toBe(6);
    one.close();
    expect(browser.listeners).toBe(3);
    const path = `/channels/${encodeURIComponent(two.name)}`;
    expect((await call(target(), "PUT", path, { active: false })).status).toBe(200);
    await until(() => two.status === "closed");
    expect(browser.listeners).toBe(0);
    browser.fire("offline", "online");
    browser.show("visible");
    expect([one.status, two.status]).toEqual(["closed", "closed"]);
  });

  it("are removed if a handler closes the channel when the connection is lost", async () => {
    const browser = new FakeBrowser();
    const { proxy, sockets } = await countingWay();
    const room = await joinChannel(proxy, await newRoom(target()));
    room.on("status", () => room.close());
    proxy.hold();
    browser.fire("offline");
    await soon(() => room.status === "closed");
    browser.fire("online");
    expect([browser.listeners, sockets()]).toEqual([0, 1]);
  });
});
