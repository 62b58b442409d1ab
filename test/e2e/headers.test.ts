import { globSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { rawRequest } from "../support/raw.ts";
import { target } from "./support.ts";

const STRICT = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'";
const HSTS = "max-age=31536000";

/** What pages of other origins may use. */
const SHARED = new Set(["/openapi.json", "/asyncapi.json", "/client.js"]);

const files = globSync("public/**/*", { withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name !== "_headers")
  .map(({ parentPath, name }) => `${parentPath}/${name}`.replace("public/", "/"));

describe("the headers of what is served as a file (SRV5)", () => {
  it("are known for every page", () => {
    expect(files).toEqual(expect.arrayContaining(["/index.html", "/console.html", "/docs.html", "/client.js"]));
  });

  it.each(["/", "/console", "/docs", ...files])("are there at %s", async (path) => {
    const { status, headers } = await rawRequest(`${target().url}${path}`);
    // A page's address is the one without its extension.
    expect(status).toBe(path.endsWith(".html") ? 307 : 200);
    expect(headers).toMatchObject({
      "content-security-policy": expect.stringContaining(STRICT),
      "x-content-type-options": "nosniff",
      "cross-origin-resource-policy": SHARED.has(path) ? "cross-origin" : "same-origin",
      "cross-origin-opener-policy": "same-origin",
      "referrer-policy": "no-referrer",
    });
    expect(headers["content-security-policy"]).toContain("frame-ancestors 'none'");
  });

  it.each(["example.test", "rt.example.test", "durable-channels.someone.workers.test"])(
    "keep browsers to https at %s",
    async (host) => {
      for (const path of ["/", "/console", "/docs", "/client.js"]) {
        const { headers } = await rawRequest(`${target().url}${path}`, { Host: host });
        expect(headers["strict-transport-security"]).toBe(HSTS);
      }
    },
  );

  it("leave http://localhost alone, which other servers use, too", async () => {
    const { headers } = await rawRequest(target().url, { Host: "localhost:8787" });
    expect(headers["strict-transport-security"]).toBeUndefined();
  });

  it("are there on what the Worker answers", async () => {
    for (const path of ["/health", "/nothing", "/channels"]) {
      const { headers } = await rawRequest(`${target().url}${path}`);
      expect(headers).toMatchObject({
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
      });
    }
  });
});
