import { type Context, Hono, type MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { methodNotAllowed } from "hono/method-not-allowed";
import { routePath } from "hono/route";
import type { Env } from "../env.ts";
import { type ErrorCode, ERRORS, problemType } from "../protocol/errors.ts";
import { tooLarge } from "../protocol/json.ts";
import { MAX_BATCH_BYTES, MAX_BODY_BYTES } from "../protocol/limits.ts";
import { countRequest } from "./caller.ts";
import { databases } from "./databases.ts";
import { health } from "./health.ts";
import { hosts } from "./hosts.ts";
import { messages } from "./messages.ts";
import { origins } from "./origins.ts";
import { presence } from "./presence.ts";
import { faultOf, problem } from "./problem.ts";
import { BATCH_PATH, publish } from "./publish.ts";
import { securityHeaders } from "./security-headers.ts";
import { settings } from "./settings.ts";
import { socket } from "./socket.ts";
import { stats } from "./stats.ts";

export const app = new Hono<{ Bindings: Env }>();

app.use(securityHeaders);
app.use(hosts);
// Before anything of a request is read. The refusal passes through `origins`, so that allowed pages can read it.
app.use(async (c, next) => {
  const counted = await countRequest(c);
  return origins(c, counted.ok ? next : async () => void (c.res = problem(c, counted.fault)));
});

const [single, batch] = [limitBody(MAX_BODY_BYTES), limitBody(MAX_BATCH_BYTES)];
app.use((c, next) => (c.req.path === BATCH_PATH ? batch : single)(c, next));

app.use(
  methodNotAllowed({
    app,
    onMethodNotAllowed: (c, methods) => {
      c.header("Allow", methods.join(", "));
      const detail = `${c.req.path} answers ${methods.join(", ")} only; got ${c.req.method}.`;
      return problem(c, { code: "method-not-allowed", detail });
    },
  }),
);

app.route("/", publish);
app.route("/", messages);
app.route("/", socket);
app.route("/", presence);
app.route("/", stats);
app.route("/", settings);
app.route("/", databases);
app.route("/", health);

app.get("/problems/:code", (c) => {
  const code = c.req.param("code");
  return Object.hasOwn(ERRORS, code) ? c.json(problemType(code as ErrorCode)) : c.notFound();
});

app.notFound((c) => problem(c, { code: "not-found", detail: `Nothing answers ${c.req.method} ${c.req.path}.` }));

app.onError((error, c) => problem(c, faultOf(error, { method: c.req.method, route: routePath(c, -1) })));

/** Where the length is announced, and HTTP holds the sender to it, looking at the body as a stream is work for nothing. */
function limitBody(maxSize: number): MiddlewareHandler {
  const refuse = (c: Context) => problem(c, tooLarge(maxSize).fault);
  const measured = bodyLimit({ maxSize, onError: refuse });
  return async (c, next) => {
    const announced = c.req.header("Content-Length");
    if (announced === undefined || c.req.header("Transfer-Encoding") !== undefined) return measured(c, next);
    return Number(announced) > maxSize ? refuse(c) : next();
  };
}
