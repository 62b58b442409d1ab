import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import type { Env } from "../env.ts";
import { causeOf, type ErrorCode, ERRORS, type Fault, FaultError } from "../protocol/errors.ts";
import { tooLarge } from "../protocol/json.ts";
import { MAX_BATCH_BYTES, MAX_BODY_BYTES } from "../protocol/limits.ts";
import { databases } from "./databases.ts";
import { messages } from "./messages.ts";
import { origins } from "./origins.ts";
import { presence } from "./presence.ts";
import { problem, problemType } from "./problem.ts";
import { BATCH_PATH, publish } from "./publish.ts";
import { settings } from "./settings.ts";
import { socket } from "./socket.ts";
import { stats } from "./stats.ts";

export const app = new Hono<{ Bindings: Env }>();

const limitBody = (maxSize: number) => bodyLimit({ maxSize, onError: (c) => problem(c, tooLarge(maxSize).fault) });
const [single, batch] = [limitBody(MAX_BODY_BYTES), limitBody(MAX_BATCH_BYTES)];
app.use((c, next) => (c.req.path === BATCH_PATH ? batch : single)(c, next));

app.use(origins);

app.route("/", publish);
app.route("/", messages);
app.route("/", socket);
app.route("/", presence);
app.route("/", stats);
app.route("/", settings);
app.route("/", databases);

app.get("/problems/:code", (c) => {
  const code = c.req.param("code");
  return Object.hasOwn(ERRORS, code) ? c.json(problemType(code as ErrorCode)) : c.notFound();
});

app.notFound((c) => problem(c, { code: "not-found", detail: `Nothing answers ${c.req.method} ${c.req.path}.` }));

app.onError((error, c) => problem(c, faultOf(error)));

function faultOf(error: Error): Fault {
  if (error instanceof FaultError) return error.fault;
  console.error({ message: "request failed", error: causeOf(error) });
  // Errors of a Durable Object that may pass: https://developers.cloudflare.com/durable-objects/best-practices/error-handling/
  if ("retryable" in error || "overloaded" in error) {
    return { code: "unavailable", detail: "The channel does not answer just now.", retryAfter: 1 };
  }
  return { code: "internal", detail: "The request could not be completed." };
}
