import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { target } from "../e2e/support.ts";
import { launch } from "../support/chromium.ts";
import { Server } from "../support/server.ts";

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
}, 300_000);
afterAll(() => browser.close());

async function authorize(page: Page, apiKey: string): Promise<void> {
  await page.getByRole("button", { name: "Authorize" }).click();
  await page.getByLabel("auth-bearer-value").fill(apiKey);
  await page.getByRole("button", { name: "Apply credentials" }).click();
  await page.getByRole("button", { name: "Close", exact: true }).click();
}

/** Sends an operation's request as the page has filled it in. Returns the answer's status. */
async function tryOut(block: Locator): Promise<string> {
  await block.locator(".opblock-summary-control").click();
  await block.locator(".opblock-body .responses-wrapper").waitFor();
  const execute = block.getByRole("button", { name: "Execute" });
  if ((await execute.count()) === 0) return "not offered";
  await execute.click();
  const status = await block.locator(".live-responses-table .response-col_status").last().textContent();
  // Each open operation makes the page slower.
  await block.locator(".opblock-summary-control").click();
  return status?.trim() ?? "";
}

describe("the API reference at /docs (SRV2)", () => {
  it("shows every operation, using only this server and its strict policy", async () => {
    const { url } = target();
    const page = await browser.newPage({ viewport: { width: 1100, height: 900 } });
    const faults: string[] = [];
    page.on("pageerror", (error) => faults.push(error.message));
    page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
    page.on("request", (request) => {
      const to = request.url();
      if (!to.startsWith(url) && !to.startsWith("data:")) faults.push(`asked ${to}`);
    });
    const answer = await page.goto(`${url}/docs`);
    const policy = answer?.headers()["content-security-policy"] ?? "";
    expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'");
    expect(policy).not.toContain("unsafe");

    const { paths } = (await (await fetch(`${url}/openapi.json`)).json()) as { paths: Record<string, object> };
    const operations = Object.values(paths).flatMap((methods) => Object.keys(methods));
    await page
      .locator(".opblock")
      .nth(operations.length - 1)
      .waitFor();
    expect(await page.locator(".opblock").count()).toBe(operations.length);

    await page.close();
    expect(faults).toEqual([]);
  });

  it(
    "has examples that succeed on a new server, one after the other, from the first",
    { timeout: 300_000 },
    async () => {
      const server = await Server.start();
      onTestFinished(() => server.remove());
      const page = await browser.newPage({ viewport: { width: 1100, height: 900 } });
      onTestFinished(() => page.close());
      await page.goto(`${server.url}/docs`);
      await page.locator(".opblock").first().waitFor();
      const blocks = await page.locator(".opblock").all();
      const statuses: Record<string, string> = {};
      for (const [index, block] of blocks.entries()) {
        // The first needs no key: the demo channel is open.
        if (index === 1) await authorize(page, server.apiKey);
        const id = (await block.getAttribute("id")) ?? "";
        statuses[id.replace(/^operations-\w+-/, "")] = await tryOut(block);
      }
      const unsuccessful = Object.entries(statuses).filter(([, status]) => !/^2\d\d$/.test(status));
      expect(unsuccessful, "only a WebSocket client can open sockets").toEqual([
        ["openSocket", "not offered"],
        ["openSharedSocket", "not offered"],
        ["openMultiplexedSocket", "not offered"],
      ]);
    },
  );
});
