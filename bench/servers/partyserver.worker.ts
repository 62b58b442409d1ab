/** partyserver as in its documentation: it hibernates, stores each message as a row in its SQLite, and then broadcasts it. */
import { routePartykitRequest, Server } from "partyserver";

interface Env {
  CHANNELS: DurableObjectNamespace<Channel>;
}

export class Channel extends Server<Env> {
  static override options = { hibernate: true };

  override onStart(): void {
    const { sql } = this.ctx.storage;
    sql.exec("CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY AUTOINCREMENT, time INTEGER, payload TEXT)");
  }

  override async onRequest(request: Request): Promise<Response> {
    const body = await request.json<{ message?: unknown; messages?: unknown[] }>();
    const seqs = (body.messages ?? [body.message]).map((message) => {
      const time = Date.now();
      const payload = JSON.stringify(message);
      const stored = this.ctx.storage.sql.exec(
        "INSERT INTO log (time, payload) VALUES (?, ?) RETURNING seq",
        time,
        payload,
      );
      const seq = Number(stored.one()["seq"]);
      const options = `{"channel":"${this.name}","seq":${seq},"time":"${new Date(time).toISOString()}"}`;
      this.broadcast(`{"action":"event","options":${options},"payload":${payload}}`);
      return seq;
    });
    return Response.json({ seqs }, { status: 201 });
  }
}

export default {
  async fetch(request, env) {
    return (await routePartykitRequest(request, env)) ?? new Response(null, { status: 404 });
  },
} satisfies ExportedHandler<Env>;
