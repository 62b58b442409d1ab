import { runInDurableObject } from "cloudflare:test";
import { expect, it, vi } from "vitest";
import { Alarm } from "../../src/channel/alarm.ts";
import { newChannel, stubOf } from "./support.ts";

it.each([Number.NaN, Infinity, -Infinity, -1, -0, 0.5, Number.MIN_SAFE_INTEGER, 2 ** 53 + 2, 1e308, -1e308])(
  "the alarm is set, and may be set earlier, whatever number is the time: %s (AUT7)",
  async (time) => {
    await runInDurableObject(stubOf(newChannel()), async (_, { storage }) => {
      const alarm = new Alarm(storage);
      alarm.scheduleNoLaterThan(time);
      const first = (await storage.getAlarm()) ?? 0;
      expect(first).toBeGreaterThan(Date.now() - 60_000);
      alarm.scheduleNoLaterThan(Date.now());
      expect(await storage.getAlarm()).toBeLessThanOrEqual(Date.now());
      expect(await storage.getAlarm()).toBeLessThanOrEqual(first);
      await storage.deleteAlarm();
    });
  },
);

it("an alarm that could not be set is logged, and set as soon as it is asked for again", async () => {
  const log = vi.spyOn(console, "error").mockImplementation(() => {});
  await runInDurableObject(stubOf(newChannel()), async (_, { storage }) => {
    const alarm = new Alarm(storage);
    const time = Date.now() + 60_000;
    const failing = vi.spyOn(storage, "setAlarm").mockRejectedValueOnce(new Error("on purpose"));
    alarm.scheduleNoLaterThan(time);
    await vi.waitUntil(() => log.mock.calls.length > 0);
    failing.mockRestore();
    alarm.scheduleNoLaterThan(time);
    expect(await storage.getAlarm()).toBe(time);
    await storage.deleteAlarm();
  });
  expect(log.mock.calls).toEqual([[expect.objectContaining({ message: "alarm not set" })]]);
  log.mockRestore();
});
