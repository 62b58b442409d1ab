import { describe, expect, it } from "vitest";
import { history, join, newChannel, publish, target } from "./support.ts";

/** A publish whose client goes away at once, whatever becomes of it. */
function publishAndLeave(channel: string, message: unknown): void {
  const { url, apiKey } = target();
  const leaving = new AbortController();
  const headers = { Authorization: `Bearer ${apiKey}`, "Content-Type": "application/json" };
  const body = JSON.stringify({ channel, message });
  fetch(`${url}/message`, { method: "POST", headers, body, signal: leaving.signal }).catch(() => {});
  setTimeout(() => leaving.abort(), 1);
}

const upTo = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

describe("simultaneous publishes to one channel, which share calls to its object", () => {
  it("each get their own position, and all are delivered and stored (PUB2, ORD1, ORD2)", async () => {
    const channel = newChannel();
    const subscriber = await join(target(), channel);
    const places = await Promise.all(upTo(300).map((message) => publish(target(), channel, message)));
    expect(places.map(({ seq }) => seq).toSorted((a, b) => a - b)).toEqual(upTo(300));
    const seen = await subscriber.frames(300);
    expect(seen.map(({ options }) => options.seq)).toEqual(upTo(300));
    for (const [index, { seq }] of places.entries()) expect(seen[seq - 1]?.payload).toBe(index + 1);
    expect((await history(target(), channel, "?limit=1000")).messages).toEqual(seen);
  });

  it("are answered even if the request that made the shared call is canceled", async () => {
    const channel = newChannel();
    const answers = upTo(50).map((message) => {
      publishAndLeave(channel, `gone ${message}`);
      return publish(target(), channel, message);
    });
    const places = await Promise.all(answers);
    const kept = (await history(target(), channel, "?limit=1000")).messages;
    for (const [index, { seq }] of places.entries()) expect(kept[seq - 1]?.payload).toBe(index + 1);
  });
});
