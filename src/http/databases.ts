import { Hono } from "hono";
import { defaultAudienceOf, isDefaultOfAnother } from "../auth/audience.ts";
import { DatabaseStore, type Obstacle } from "../auth/databases.ts";
import { databaseOf, forgetDatabase } from "../auth/known-settings.ts";
import { canonicalId, mintToken } from "../auth/token.ts";
import type { Env } from "../env.ts";
import { type Fault, FaultError } from "../protocol/errors.ts";
import { isoTime } from "../protocol/frames.ts";
import { isLocal } from "../protocol/key-set-address.ts";
import { MAX_REVOCATIONS } from "../protocol/limits.ts";
import {
  AuthDatabase,
  DatabaseName,
  DisconnectRequest,
  TokenRequest,
  type UserId,
  validate,
} from "../protocol/schemas.ts";
import { requireServer } from "./caller.ts";
import { fromD1 } from "./d1.ts";
import { listPage } from "./listing.ts";
import { type AppContext, jsonBody, unwrap } from "./request.ts";

/**
 * `GET`, `PUT`, `DELETE /databases/{name}`: the auth databases, `GET /databases`: all of them, and
 * `POST /databases/{name}/tokens`: a token for a user, and `POST /databases/{name}/disconnect`: the end of users' tokens. For
 * the server side only.
 */
export const databases = new Hono<{ Bindings: Env }>()
  .get("/databases", async (c) => {
    await requireServer(c);
    const store = new DatabaseStore(c.env.DB);
    const { items, next } = await listPage(
      c,
      (after, limit) => fromD1(c, () => store.list(after, limit)),
      ({ database }) => database,
    );
    return c.json({ databases: items, next });
  })
  .get("/databases/:name", async (c) => {
    await requireServer(c);
    const name = nameOf(c);
    return c.json({ database: name, config: await known(c, name) });
  })
  .put("/databases/:name", async (c) => {
    await requireServer(c);
    const name = nameOf(c);
    const config = await jsonBody(c, AuthDatabase);
    requireOwnAudience(config, name);
    requireReachable(config, c);
    const obstacle = await fromD1(c, () => new DatabaseStore(c.env.DB).put(name, config));
    if (obstacle) throw new FaultError(faultOfObstacle(obstacle, config));
    forgetDatabase(name);
    return c.json({ database: name, config });
  })
  .delete("/databases/:name", async (c) => {
    await requireServer(c);
    const name = nameOf(c);
    await fromD1(c, () => new DatabaseStore(c.env.DB).delete(name));
    forgetDatabase(name);
    return c.body(null, 204);
  })
  .post("/databases/:name/tokens", async (c) => {
    await requireServer(c);
    const request = await jsonBody(c, TokenRequest);
    const name = nameOf(c);
    const database = await known(c, name);
    const { token, expires } = unwrap(await mintToken(request, name, database, c.env));
    return c.json({ token, expires: isoTime(expires) }, 201);
  })
  .post("/databases/:name/disconnect", async (c) => {
    await requireServer(c);
    const name = nameOf(c);
    const id = canonicalId((await jsonBody(c, DisconnectRequest)).id) as UserId | undefined;
    const now = Date.now();
    const outcome = await fromD1(c, () => new DatabaseStore(c.env.DB).revoke(name, id, now));
    if (outcome === "missing") throw new FaultError(noSuchDatabase(name));
    if (outcome === "full") throw new FaultError(TOO_MANY_REVOCATIONS);
    forgetDatabase(name);
    return c.json({ database: name, id: id ?? null, revoked_until: isoTime(now) });
  });

function nameOf(c: AppContext): string {
  return unwrap(validate(DatabaseName, c.req.param("name"), "name"));
}

function requireOwnAudience({ audience = "" }: AuthDatabase, name: string): void {
  if (!isDefaultOfAnother(audience, name)) return;
  const detail = `audience must not be the default audience of another database; that of ${name} is ${defaultAudienceOf(name)}.`;
  throw new FaultError({ code: "invalid-field", detail, field: "audience" });
}

/** The hosts by which a server that runs on the machine itself is called. */
const LOCAL_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** A key set on `localhost` is for a server that was started for development there. */
function requireReachable({ jwks_url: address }: AuthDatabase, c: AppContext): void {
  if (address === undefined || !isLocal(new URL(address)) || LOCAL_HOSTS.has(new URL(c.req.url).hostname)) return;
  const detail = "jwks_url may be on localhost only if this server is, too.";
  throw new FaultError({ code: "invalid-field", detail, field: "jwks_url" });
}

function faultOfObstacle({ name, hasNumber }: Obstacle, { dbo_id }: AuthDatabase): Fault {
  if (hasNumber) {
    const detail = `dbo_id ${dbo_id} is that of ${name}; each database has its own.`;
    return { code: "invalid-field", detail, field: "dbo_id" };
  }
  const detail = `audience must differ from that of ${name}, which has the same key: otherwise each database would accept the other's tokens. Choose another audience, leave audience out, or use another key.`;
  return { code: "invalid-field", detail, field: "audience" };
}

async function known(c: AppContext, name: string): Promise<AuthDatabase> {
  const database = unwrap(await databaseOf(name, c.env));
  if (database === null) throw new FaultError(noSuchDatabase(name));
  return database;
}

function noSuchDatabase(name: string): Fault {
  return { code: "not-found", detail: `There is no auth database ${name}.` };
}

const TOO_MANY_REVOCATIONS: Fault = {
  code: "invalid-field",
  detail: `id is one too many: ${MAX_REVOCATIONS} users of the database were disconnected in 30 days. Leave id out to disconnect all users.`,
  field: "id",
  limit: MAX_REVOCATIONS,
};
