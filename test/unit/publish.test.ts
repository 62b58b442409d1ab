import { describe, expect, it } from "vitest";
import { call, history, join, newOpenChannel, publish } from "./support.ts";

describe("publishing", () => {
  it("returns 201 with the message's position (PUB2, ORD1)", async () => {
    const channel = await newOpenChannel();
    const answer = await call("POST", "/message", { channel, message: "Avengers, assemble!" });
    expect(answer.status).toBe(201);
    expect(await answer.json()).toEqual({
      channel,
      seq: 1,
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    });
    expect(await publish(channel, "again")).toMatchObject({ seq: 2 });
  });

  it("delivers one event frame to each subscriber, with the answer's seq and time (PUB3)", async () => {
    const channel = await newOpenChannel();
    const subscribers = await Promise.all([join(channel), join(channel), join(channel)]);
    const { seq, time } = await publish(channel, { text: "hello" });
    for (const subscriber of subscribers) {
      expect(await subscriber.frame()).toEqual({
        action: "event",
        options: { channel, seq, time },
        payload: { text: "hello" },
      });
    }
  });

  it.each([
    ["null", null],
    ["an empty text", ""],
    ["zero", 0],
    ["false", false],
    ["an empty array", []],
    ["a text of many scripts", 'Ünïcödé 日本語 🦸‍♀️ \u0000 \u2028 \\ " </script>'],
    ["a lone surrogate", "\ud800"],
    ["an object", { a: [1, { b: null }], ["__proto__"]: 1 }],
    ["a number at the edge", -1.7976931348623157e308],
  ])("accepts any JSON value and returns it: %s (PUB1, PUB4)", async (_, message) => {
    const channel = await newOpenChannel();
    const subscriber = await join(channel);
    await publish(channel, message);
    expect((await subscriber.frame()).payload).toStrictEqual(message);
    expect((await history(channel)).messages[0]?.payload).toStrictEqual(message);
  });

  it("gives concurrent messages one order, without gap or repeat, the same for everyone (ORD1, ORD2)", async () => {
    const channel = await newOpenChannel();
    const [one, two] = [await join(channel), await join(channel)];
    const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => publish(channel, index)));
    const order = answers.toSorted((a, b) => a.seq - b.seq).map(({ seq }) => seq);
    expect(order).toEqual(Array.from({ length: 50 }, (_, index) => index + 1));
    const seen = await one.frames(50);
    expect(seen.map((frame) => frame.options.seq)).toEqual(order);
    expect(await two.frames(50)).toEqual(seen);
    expect((await history(channel)).messages).toEqual(seen);
  });
});
