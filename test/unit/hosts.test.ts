import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { app } from "../../src/http/app.ts";
import { connect, newOpenChannel } from "./support.ts";

async function statusAt(host: string, bindings: object, init: RequestInit = {}): Promise<number> {
  return (await app.request(`http://${host}/problems/internal`, init, { ...env, ...bindings })).status;
}

describe("a development server (SRV6)", () => {
  it.each([
    "localhost",
    "localhost:8787",
    "LOCALHOST:8787",
    "127.0.0.1:8787",
    "[::1]:8787",
    "192.168.1.7:8787",
    "[fe80::1]:8787",
    "my-machine:8787",
    "rt.example.test",
  ])("answers at %s", async (host) => {
    expect(await statusAt(host, { LOCAL_HOSTS: "My-Machine, rt.example.test:8787" })).toBe(200);
  });

  it.each([
    "evil.test",
    "evil.test:8787",
    "localhost.evil.test",
    "localhost.:8787",
    "evil-localhost",
    "127.0.0.1.evil.test",
    "my-machine.evil.test",
  ])("answers nothing at %s, where a page may have led a browser by its own DNS", async (host) => {
    for (const init of [{}, { method: "OPTIONS" }, { headers: { Origin: `http://${host}` } }]) {
      const bindings = { ...env, LOCAL_HOSTS: "my-machine" };
      const answer = await app.request(`http://${host}/problems/internal`, init, bindings);
      expect([answer.status, await answer.json()]).toMatchObject([
        421,
        { type: "/problems/wrong-host", field: "Host" },
      ]);
    }
  });

  it("is one that has the variable LOCAL_HOSTS, though it be empty", async () => {
    expect(await statusAt("evil.test", { LOCAL_HOSTS: "" })).toBe(421);
  });
});

describe("a deployed server", () => {
  it("answers at every host that Cloudflare leads to it", async () => {
    expect(await statusAt("rt.example.test", {})).toBe(200);
    await connect(await newOpenChannel());
  });
});
