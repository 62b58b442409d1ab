import { Hono } from "hono";
import { defaultAudienceOf, isDefaultOfAnother } from "../auth/audience.ts";
import { DatabaseStore, type Conflict } from "../settings/databases.ts";
import { databaseOf, forgetDatabase } from "../settings/known-settings.ts";
import { canonicalId, mintToken } from "../auth/token.ts";
import type { Env } from "../env.ts";
import { type Fault, FaultError } from "../protocol/errors.ts";
import { isoTime } from "../protocol/frames.ts";
import { isLocal } from "../protocol/key-set-address.ts";
import { MAX_REVOCATIONS } from "../protocol/limits.ts";
import { AuthDatabase, DisconnectRequest, TokenRequest } from "../protocol/auth-database.ts";
import { validate } from "../protocol/validate.ts";
import { DatabaseName, type UserId } from "../protocol/values.ts";
import { requireApiKey } from "./caller.ts";
import { fromD1 } from "./d1.ts";
import { listPage } from "./listing.ts";
import { type AppContext, jsonBody, unwrap } from "./request.ts";

/**
 * The endpoints of auth databases, for API-key clients only: `GET`, `PUT` and `DELETE /databases/{name}`, `GET
 * /databases` to list them, `POST /databases/{name}/tokens` to make a user's token, and `POST
 * /databases/{name}/disconnect` to revoke users' tokens.
 */
export const databases = new Hono<{ Bindings: Env }>()
  .get("/databases", async (c) => {
    await requireApiKey(c);
    const store = new DatabaseStore(c.env.DB);
    const { items, next } = await listPage(
      c,
      (after, limit) => fromD1(c, () => store.list(after, limit)),
      ({ database }) => database,
    );
    return c.json({ databases: items, next });
  })
  .get("/databases/:name", async (c) => {
    await requireApiKey(c);
    const name = nameOf(c);
    return c.json({ database: name, config: await requireDatabase(c, name) });
  })
  .put("/databases/:name", async (c) => {
    await requireApiKey(c);
    const name = nameOf(c);
    const config = await jsonBody(c, AuthDatabase);
    requireOwnAudience(config, name);
    requireReachable(config, c);
    const conflict = await fromD1(c, () => new DatabaseStore(c.env.DB).put(name, config));
    if (conflict) throw new FaultError(faultOfConflict(conflict, config));
    forgetDatabase(name);
    return c.json({ database: name, config });
  })
  .delete("/databases/:name", async (c) => {
    await requireApiKey(c);
    const name = nameOf(c);
    await fromD1(c, () => new DatabaseStore(c.env.DB).delete(name));
    forgetDatabase(name);
    return c.body(null, 204);
  })
  .post("/databases/:name/tokens", async (c) => {
    await requireApiKey(c);
    const request = await jsonBody(c, TokenRequest);
    const name = nameOf(c);
    const database = await requireDatabase(c, name);
    const { token, expires } = unwrap(await mintToken(request, name, database, c.env));
    return c.json({ token, expires: isoTime(expires) }, 201);
  })
  .post("/databases/:name/disconnect", async (c) => {
    await requireApiKey(c);
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
  const detail = `audience must not be the default audience of another database. The default audience of ${name} is ${defaultAudienceOf(name)}.`;
  throw new FaultError({ code: "invalid-field", detail, field: "audience" });
}

/** The hosts at which a server on the machine itself is called. */
const LOCAL_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** Allows a key set on `localhost` only to a server that itself runs on the machine, for development. */
function requireReachable({ jwks_url: address }: AuthDatabase, c: AppContext): void {
  if (address === undefined || !isLocal(new URL(address)) || LOCAL_HOSTS.has(new URL(c.req.url).hostname)) return;
  const detail =
    "jwks_url may be on localhost only if this server runs there, too. Use an https: address with a public host name.";
  throw new FaultError({ code: "invalid-field", detail, field: "jwks_url" });
}

function faultOfConflict({ name, hasNumber }: Conflict, { dbo_id }: AuthDatabase): Fault {
  if (hasNumber) {
    const detail = `dbo_id ${dbo_id} is already used by ${name}. Choose a number that no other database has.`;
    return { code: "invalid-field", detail, field: "dbo_id" };
  }
  const detail = `audience must differ from the audience of ${name}, which has the same key. Otherwise each database would accept the other's tokens. Choose another audience, leave audience out, or use another key.`;
  return { code: "invalid-field", detail, field: "audience" };
}

async function requireDatabase(c: AppContext, name: string): Promise<AuthDatabase> {
  const database = unwrap(await databaseOf(name, c.env));
  if (database === null) throw new FaultError(noSuchDatabase(name));
  return database;
}

function noSuchDatabase(name: string): Fault {
  return { code: "not-found", detail: `There is no auth database ${name}.` };
}

const TOO_MANY_REVOCATIONS: Fault = {
  code: "invalid-field",
  detail: `id cannot be disconnected: ${MAX_REVOCATIONS} users of the database were disconnected in the last 30 days, the most allowed. Leave id out to disconnect all users.`,
  field: "id",
  limit: MAX_REVOCATIONS,
};
