import { Client } from "./client.ts";
import { contentOf } from "./contents.ts";
import type { Objects } from "./objects.ts";
import type { Operation, Operations } from "./operations.ts";
import { type ClientPlan, PLACES, type Place, type StepOf } from "./schedule.ts";
import type { Server } from "./server.ts";
import type { SocketFaults } from "./sockets.ts";
import { ANONYMOUS, type Stage } from "./stage.ts";

/** How long a socket may outlive its token, in simulated milliseconds. */
const LONGEST_EXPIRY_MS = 60_000;

/** All clients of a schedule. Connects them, sends their frames, and breaks their sockets. */
export class Clients {
  readonly #stage: Stage;
  readonly #operations: Operations;
  readonly #server: Server;
  readonly #objects: Objects;
  readonly #sockets: SocketFaults;
  readonly all: Client[];
  readonly #connecting = new Set<Client>();
  /** Since when tokens of open connections have expired, by `elapsed`. */
  readonly #expiredSince = new Map<Client, number>();

  constructor(
    plans: readonly ClientPlan[],
    parts: { stage: Stage; operations: Operations; server: Server; objects: Objects; sockets: SocketFaults },
  ) {
    this.#stage = parts.stage;
    this.#operations = parts.operations;
    this.#server = parts.server;
    this.#objects = parts.objects;
    this.#sockets = parts.sockets;
    this.all = plans.map((plan, index) => new Client(`client ${index}`, plan, parts.stage));
  }

  /** Grows with each frame that a client receives. */
  get activity(): number {
    return this.all.reduce((sum, { activity }) => sum + activity, 0);
  }

  /** When the next heartbeat is due, by `elapsed`; Infinity if none is. */
  get nextBeat(): number {
    return Math.min(Infinity, ...this.all.map(({ nextBeat }) => nextBeat));
  }

  /** Connects a client if necessary, and joins its channels. */
  async join({ client: index, ...wishes }: Omit<StepOf<"join">, "do">): Promise<void> {
    const client = this.#client(index);
    if (this.#connecting.has(client)) return;
    if (client.isOpen) this.#joinAll(client, wishes);
    else await this.#connect(client, wishes);
    const isAnswered = () => client.channels.every(({ joins }) => joins.length === 0);
    await this.#operations.settle(() => !client.isOpen || isAnswered());
  }

  leave({ client, place }: Omit<StepOf<"leave">, "do">): void {
    this.#say(client, place, (speaker, channel) => speaker.send("leave", channel));
  }

  askHistory({ client, place }: Omit<StepOf<"ask history">, "do">): void {
    this.#say(client, place, (speaker, channel) => speaker.send("history", channel));
  }

  disconnect({ client }: Omit<StepOf<"disconnect">, "do">): void {
    this.#client(client).disconnect();
  }

  send({ client, place, size, restricted }: Omit<StepOf<"send">, "do">): void {
    this.#say(client, place, (speaker, channel) => {
      const { socketId, plan } = speaker;
      const who = speaker.runOn(channel)?.who;
      if (socketId === undefined || !who) return;
      const user = who.kind === "user" ? this.#stage.senderOf(plan.who) : null;
      const content = contentOf(this.#stage.newName("m"), size);
      this.#stage.oracle.sends({
        content,
        channel,
        action: "message",
        who,
        sender: { ...(user ?? ANONYMOUS), socketId },
        restriction: restricted ? this.#stage.id : null,
        from: this.#stage.clock.moment(),
        to: undefined,
        acknowledged: undefined,
        isRefused: false,
      });
      speaker.send("message", channel, content, restricted ? { authenticated: true } : {});
    });
  }

  whisper({ client, to, place }: Omit<StepOf<"whisper">, "do">): void {
    const { socketId } = this.#client(to);
    if (socketId === undefined) return;
    const content = contentOf(this.#stage.newName("m"), "small");
    this.#say(client, place, (speaker, channel) => speaker.send("message", channel, content, { socketId }));
  }

  /** Breaks a client's socket at the object, and perhaps those that follow it. */
  async break({ client: index, place, after }: Omit<StepOf<"break">, "do">): Promise<void> {
    const client = this.#client(index);
    const channel = this.#stage.channels[place];
    if (!client.isOpen || client.socketId === undefined || !client.plan.places.includes(place)) return;
    this.disturb(place);
    await this.#objects.unblocked(place);
    await this.#sockets.break(this.#objects.stub(place), channel, client.socketId, after);
    this.#objects.wake([place]);
  }

  breakNext({ place, after }: Omit<StepOf<"break next">, "do">): void {
    this.disturb(place);
    this.#sockets.breakNext(this.#stage.channels[place], after);
  }

  /** Stops a client's heartbeats after one more. The object only misses heartbeats of a client that has sent one. */
  async vanish({ client: index }: Omit<StepOf<"vanish">, "do">): Promise<void> {
    const client = this.#client(index);
    if (!client.isOpen || !client.plan.beats) return;
    client.beat();
    await this.#operations.calm();
    client.vanish();
  }

  /** Notes that an injected fault may end the sockets of a channel's object. */
  disturb(place: Place): void {
    for (const client of this.all) if (client.plan.places.includes(place)) client.disturb();
  }

  /** Sends the heartbeats that are due. Returns whether there were any. */
  beat(): boolean {
    const due = this.all.filter(({ nextBeat }) => nextBeat <= this.#stage.clock.elapsed);
    for (const client of due) client.beat();
    return due.length > 0;
  }

  /** Checks that sockets end with their tokens (AUT7). */
  checkExpiry(): void {
    const { clock, oracle } = this.#stage;
    for (const client of this.all) {
      const mayLackAlarm = client.plan.places.some((place) => this.#objects.mayLackAlarm(place));
      if (!client.hasExpired || mayLackAlarm) this.#expiredSince.delete(client);
      else if (!this.#expiredSince.has(client)) this.#expiredSince.set(client, clock.elapsed);
      if (clock.elapsed - (this.#expiredSince.get(client) ?? Infinity) <= LONGEST_EXPIRY_MS) continue;
      this.#expiredSince.set(client, Infinity);
      const hasLostAlarm = client.plan.places.some((place) => this.#objects.hasLostAlarm(place));
      const isSlow = oracle.troubles.touch(clock.elapsed - LONGEST_EXPIRY_MS, clock.elapsed);
      const late = isSlow ? "D1 that is slow delays no token expiry" : "a socket ends with its token";
      const rule = hasLostAlarm ? "a lost alarm is replaced" : late;
      oracle.fail(rule, `${client.name} is open ${LONGEST_EXPIRY_MS} ms after its token expired`);
    }
  }

  /** Checks that every join over an open connection was answered. */
  checkAnswered(): void {
    for (const { name, isOpen, channels } of this.all) {
      if (!isOpen || channels.every(({ joins }) => joins.length === 0)) continue;
      this.#stage.oracle.fail("D1 that hangs delays no request", `a join of ${name} was never answered`);
    }
  }

  /** Reconnects and resumes every client that has not joined. A shared connection is replaced, as its token may be out of date. */
  async returnAll(): Promise<void> {
    for (const [index, client] of this.all.entries()) {
      if (client.channels.every(({ run }) => run)) continue;
      if (client.plan.way === "rt") client.disconnect();
      await this.join({ client: index, resume: true, history: false, presence: false });
    }
  }

  /** Checks that every client has joined its channels again. */
  checkReturned(): void {
    for (const client of this.all) {
      if (client.hasVanished || this.#connecting.has(client)) continue;
      for (const { run, channel } of client.channels) {
        const what = `${client.name} could not join ${channel} again`;
        if (!run) this.#stage.oracle.failSettings(channel, "a permitted request succeeds", what);
      }
    }
  }

  async #connect(client: Client, wishes: Wishes): Promise<void> {
    this.#connecting.add(client);
    const { way, who, places } = client.plan;
    const [place = "room"] = places;
    const query = way === "batch" ? "?frames=batch" : "";
    const path = way === "rt" ? "/rt/simulation" : `${this.#stage.path(place)}/socket${query}`;
    const credential = this.#server.credentialOf(who);
    const question = { label: `the connection of ${client.name}`, places, method: "GET" as const, path, who };
    await this.#server.ask({ ...question, headers: { Upgrade: "websocket" } }, (answer, operation) => {
      this.#connecting.delete(client);
      if (!answer.webSocket) return this.#checkRefusal(client, answer.status, operation);
      client.take(answer.webSocket, credential);
      this.#joinAll(client, wishes);
    });
  }

  #checkRefusal({ name, plan }: Client, status: number, operation: Operation): void {
    const { oracle, clock, channels } = this.#stage;
    const to = clock.moment();
    const channel = channels[plan.places[0] ?? "room"];
    if (!oracle.mustAllow(channel, this.#stage.identityOf(plan.who), "subscribe", operation.from, to)) return;
    this.#server.refuses(`${name} was answered ${status}`, channel, plan.who, operation, to);
  }

  #joinAll(client: Client, wishes: Wishes): void {
    this.#objects.wake(client.plan.places);
    for (const { channel } of client.channels) client.join(channel, wishes);
  }

  #say(index: number, place: Place, say: (client: Client, channel: string) => void): void {
    const client = this.#client(index);
    if (!client.isOpen || !client.plan.places.includes(place)) return;
    this.#objects.wake([place]);
    say(client, this.#stage.channels[place]);
  }

  #client(index: number): Client {
    const client = this.all[index];
    if (!client) throw new Error(`There is no client ${index}.`);
    return client;
  }

  /** Checks that each channel lists exactly the clients that have joined (PRE1, PRE4). */
  async checkPresence(): Promise<void> {
    for (const place of PLACES) {
      const question = { method: "GET" as const, path: `${this.#stage.path(place)}/presence`, who: "server" as const };
      const { presence } = await (await this.#server.request(question)).json<{ presence: { socketId: string }[] }>();
      const present = presence.map(({ socketId }) => socketId);
      const joined = this.all.filter((client) => client.isPresentOn(this.#stage.channels[place]));
      const unknown = present.filter((id) => !joined.some(({ socketId }) => socketId === id));
      const missing = joined.filter(({ socketId }) => !present.includes(socketId ?? ""));
      if (unknown.length === 0 && missing.length === 0) continue;
      const isLink = unknown.length === 0 && missing.every(({ plan, isDisturbed }) => plan.way === "rt" && isDisturbed);
      const rule = isLink ? "a /rt/ link that breaks loses nothing" : "presence is who has joined";
      const names = missing.map(({ name }) => name).join();
      this.#stage.oracle.fail(
        rule,
        `${place} lacks [${names}] and lists ${unknown.length} clients that have not joined`,
      );
    }
  }
}

type Wishes = Omit<StepOf<"join">, "do" | "client">;
