import { Hono } from "hono";
import { DatabaseStore } from "../auth/databases.ts";
import { databaseOf, forgetDatabase } from "../auth/known-settings.ts";
import { mintToken } from "../auth/token.ts";
import type { Env } from "../env.ts";
import { FaultError } from "../protocol/errors.ts";
import { isoTime } from "../protocol/frames.ts";
import { AuthDatabase, DatabaseName, TokenRequest, validate } from "../protocol/schemas.ts";
import { requireServer } from "./caller.ts";
import { fromD1 } from "./d1.ts";
import { listPage } from "./listing.ts";
import { type AppContext, jsonBody, unwrap } from "./request.ts";

/**
 * `GET`, `PUT`, `DELETE /databases/{name}`: the auth databases, `GET /databases`: all of them, and
 * `POST /databases/{name}/tokens`: a token for a user. For the server side only.
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
    const store = new DatabaseStore(c.env.DB);
    const holder = await fromD1(c, () => store.nameOf(config.dbo_id));
    if (holder !== null && holder !== name) {
      const detail = `dbo_id ${config.dbo_id} is that of ${holder}; each database has its own.`;
      throw new FaultError({ code: "invalid-field", detail, field: "dbo_id" });
    }
    await fromD1(c, () => store.put(name, config));
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
    const database = await known(c, nameOf(c));
    const { token, expires } = unwrap(await mintToken(database, c.env, request));
    return c.json({ token, expires: isoTime(expires) }, 201);
  });

function nameOf(c: AppContext): string {
  return unwrap(validate(DatabaseName, c.req.param("name"), "name"));
}

async function known(c: AppContext, name: string): Promise<AuthDatabase> {
  const database = unwrap(await databaseOf(name, c.env));
  if (database === null) throw new FaultError({ code: "not-found", detail: `There is no auth database ${name}.` });
  return database;
}
