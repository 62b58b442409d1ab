/**
 * Measures what the runtime itself costs: a Durable Object that numbers each message and sends one frame to each of its
 * hibernatable WebSockets. With STORE it first writes one row. It has no checks, no settings and no history.
 */
import { DurableObject } from "cloudflare:workers";

interface Env {
  CHANNELS: DurableObjectNamespace<Channel>;
  STORE?: boolean;
}

export class Channel extends DurableObject<Env> {
  #seq = 0;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    if (!env.STORE) return;
    ctx.storage.sql.exec("CREATE TABLE IF NOT EXISTS log (seq INTEGER PRIMARY KEY, time INTEGER, payload TEXT)");
    this.#seq = Number(ctx.storage.sql.exec("SELECT max(seq) AS last FROM log").one()["last"] ?? 0);
  }

  override fetch(): Response {
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    return new Response(null, { status: 101, webSocket: client });
  }

  publish(channel: string, messages: unknown[]): number[] {
    return messages.map((message) => {
      const seq = (this.#seq += 1);
      const time = Date.now();
      const payload = JSON.stringify(message);
      if (this.env.STORE) this.ctx.storage.sql.exec("INSERT INTO log VALUES (?, ?, ?)", seq, time, payload);
      const options = `{"channel":"${channel}","seq":${seq},"time":"${new Date(time).toISOString()}"}`;
      const frame = `{"action":"event","options":${options},"payload":${payload}}`;
      for (const socket of this.ctx.getWebSockets()) socket.send(frame);
      return seq;
    });
  }
}

export default {
  async fetch(request, env) {
    if (request.method === "GET") return env.CHANNELS.getByName(new URL(request.url).pathname.slice(1)).fetch(request);
    const body = await request.json<{ channel: string; message?: unknown; messages?: unknown[] }>();
    const stub = env.CHANNELS.getByName(body.channel);
    const seqs = await stub.publish(body.channel, body.messages ?? [body.message]);
    return Response.json({ channel: body.channel, seqs }, { status: 201 });
  },
} satisfies ExportedHandler<Env>;
