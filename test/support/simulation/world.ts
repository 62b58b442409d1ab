import { listDurableObjectIds } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { Administrator } from "./administrator.ts";
import { type Frame, keptIn } from "./client.ts";
import { Clients } from "./clients.ts";
import { turn } from "./clock.ts";
import { HANG_MS } from "./d1.ts";
import { Objects } from "./objects.ts";
import { LONGEST_REQUEST_MS, Operations } from "./operations.ts";
import type { Kept, Row, Violation } from "./oracle.ts";
import { Publisher } from "./publisher.ts";
import { PLACES, type Place, type Schedule, type Step, type StepOf } from "./schedule.ts";
import { Server } from "./server.ts";
import { SocketFaults } from "./sockets.ts";
import { Stage } from "./stage.ts";

/** How long frames may wait for each other. */
const BATCH_WINDOW_MS = 100;
/** How long the changes of a client's presence may wait for each other, which is the longest timer of an object. */
const PRESENCE_WINDOW_MS = 1_000;
/** How long clients take to recover from faults, and settings to take effect. */
const RECOVERY_MS = 6_000;
/** How long the archive may take to catch up once D1 is well: the longest pause between two attempts, and some more. */
const CATCH_UP_MS = 130_000;
/** How long a client may be gone until the server closes its socket: 90 seconds, and a margin. */
const LONGEST_VANISHED_MS = 240_000;
/** How much text a client may receive without a heartbeat, and a margin (CON7). */
const SLOW_TEXT = 8.75 * 1024 * 1024;
/** How long traffic waits between two messages, in milliseconds. */
const TRAFFIC_EVERY_MS = 2_000;

/** How long to wait for answers before looking whether they have arrived, in milliseconds. */
const WAIT_STEP_MS = 1_000;

/** Runs one schedule with real channels and real clients. */
export class World {
  readonly #stage: Stage;
  readonly #sockets: SocketFaults;
  readonly #operations: Operations;
  readonly #objects: Objects;
  readonly #server: Server;
  readonly #administrator: Administrator;
  readonly #publisher: Publisher;
  readonly #clients: Clients;

  constructor({ seed, clients }: Schedule) {
    const stage = new Stage(seed);
    this.#stage = stage;
    this.#sockets = new SocketFaults(stage.clock);
    this.#operations = new Operations(stage, () => this.#clients.activity);
    this.#objects = new Objects(stage, this.#operations);
    this.#server = new Server(stage, this.#operations, this.#objects);
    this.#administrator = new Administrator(stage, this.#server);
    this.#publisher = new Publisher(stage, this.#server);
    const parts = {
      operations: this.#operations,
      server: this.#server,
      objects: this.#objects,
      sockets: this.#sockets,
    };
    this.#clients = new Clients(clients, { stage, ...parts });
  }

  get violations(): Violation[] {
    return this.#stage.oracle.violations;
  }

  /** Changes while the schedule makes progress. */
  get progress(): number {
    return this.#operations.activity + this.#stage.clock.elapsed;
  }

  /** Installs the faults, and stores the settings that every schedule starts with. */
  async open(): Promise<void> {
    await this.#sockets.install(this.#objects.stub("room"));
    await this.#objects.install();
    this.#stage.clock.install();
    this.#stage.d1.install();
    await this.#administrator.openAll();
  }

  /** Uninstalls the faults and closes the connections. */
  async close(): Promise<void> {
    this.#stage.d1.uninstall();
    for (const client of this.#clients.all) if (client.isOpen) client.disconnect();
    this.#stage.clock.uninstall();
    this.#sockets.uninstall();
    this.#objects.uninstall();
    await turn();
  }

  async perform(step: Step): Promise<void> {
    await this.#perform(step);
    await this.#operations.calm();
    await this.#administrator.follow();
  }

  /** Reports an unhandled rejection. */
  rejected(reason: unknown): void {
    this.#stage.oracle.fail("no rejection is unhandled", String(reason));
  }

  /** Ends all faults, lets every client catch up, and checks every rule. */
  async finish(): Promise<void> {
    this.#sockets.heal();
    this.#heal();
    if (this.#operations.pending.length > 0 || this.#stage.d1.isLate) await this.#pass(LONGEST_REQUEST_MS);
    this.#operations.checkPending();
    // Nothing that hung may end later, when the history has been read.
    if (this.#stage.d1.isLate) await this.#pass(HANG_MS);
    await this.#administrator.openAll();
    await this.#pass(RECOVERY_MS);
    // Twice: a connection may only now turn out to be closed.
    for (const _ of ["first", "second"]) {
      await this.#clients.returnAll();
      await this.#pass(RECOVERY_MS);
    }
    this.#clients.checkReturned();
    await this.#publisher.publishPlainly(...PLACES);
    await this.#pass(BATCH_WINDOW_MS);
    await this.#findVanished();
    await this.#clients.checkPresence();
    for (const place of PLACES) await this.#check(place);
  }

  async #perform(step: Step): Promise<void> {
    switch (step.do) {
      case "publish":
        return this.#publisher.publish(step);
      case "retry":
        return this.#publisher.retry(step);
      case "join":
        return this.#clients.join(step);
      case "leave":
        return this.#clients.leave(step);
      case "send":
        return this.#clients.send(step);
      case "whisper":
        return this.#clients.whisper(step);
      case "ask history":
        return this.#clients.askHistory(step);
      case "disconnect":
        return this.#clients.disconnect(step);
      case "break":
        return this.#clients.break(step);
      case "break next":
        return this.#clients.breakNext(step);
      case "vanish":
        return this.#clients.vanish(step);
      case "evict":
        return this.#evict(step);
      case "crash":
        return this.#crash(step.place);
      case "lose alarm":
        return this.#objects.loseAlarm(step.place);
      case "d1":
        return this.#harm(step);
      case "d1 heals":
        return this.#heal();
      case "settings":
        return this.#administrator.changeSettings(step);
      case "database":
        return this.#administrator.changeDatabase(step.issuer);
      case "token":
        return this.#administrator.mint(step.who, step.seconds);
      case "pass":
        return this.#pass(step.ms);
      case "clock":
        return this.#stepClock(step.ms);
      case "flood":
        return this.#flood(step.place);
      case "traffic":
        return this.#traffic(step);
      case "read":
        return this.#read(step);
      case "knock":
        return this.#knock();
    }
  }

  // Faults

  #harm(fault: StepOf<"d1">): void {
    this.#stage.d1.fault = fault;
    this.#stage.oracle.troubles.begin(this.#stage.clock.elapsed);
  }

  #heal(): void {
    this.#stage.d1.fault = undefined;
    // Answers that are late still tell what D1 held before.
    this.#stage.oracle.troubles.end(Math.max(this.#stage.clock.elapsed, this.#stage.d1.lastAnswer));
  }

  /**
   * Evicts an object once its timers have fired, unless it is waiting for something: the runtime would wait for either, by
   * real time, and then evict it all the same.
   */
  async #evict({ place, sockets }: StepOf<"evict">): Promise<void> {
    await this.#pass(PRESENCE_WINDOW_MS);
    if (this.#operations.pendingAt(place).length > 0 || this.#stage.d1.isLate) return;
    if (sockets === "close") this.#clients.disturb(place);
    await this.#objects.evict(place, sockets);
  }

  async #crash(place: Place): Promise<void> {
    for (const operation of this.#operations.pendingAt(place)) operation.isDisturbed = true;
    this.#clients.disturb(place);
    await this.#objects.crash(place);
  }

  async #stepClock(ms: number): Promise<void> {
    this.#stage.clock.step(ms);
    for (const client of this.#clients.all) client.clockStepped += Math.max(0, ms);
    await this.#pass(0);
  }

  // Load

  async #flood(place: Place): Promise<void> {
    const batch = { who: "server" as const, to: [place], keyed: false, restricted: false, attributed: false };
    const sizes = Array.from({ length: 15 }, () => "large" as const);
    const before = new Map(this.#clients.all.map((client) => [client, client.unconfirmed]));
    for (let batches = 0; batches < 10; batches++) {
      await this.#publisher.publish({ ...batch, sizes });
      await this.#operations.calm();
      // Batches that wait for D1 would all be delivered in one instant, in which no client can confirm what it receives.
      await this.#answerRequests(place);
    }
    for (const [client, unconfirmed] of before) {
      if (!client.isOpen || client.plan.way === "rt" || client.unconfirmed - unconfirmed <= SLOW_TEXT) continue;
      this.#stage.oracle.fail("a slow client is closed", `${client.name} is open after a flood`);
    }
  }

  /** Lets time pass until an object has answered its requests, or is late. */
  async #answerRequests(place: Place): Promise<void> {
    const { clock } = this.#stage;
    const end = clock.elapsed + LONGEST_REQUEST_MS;
    const isWaiting = () => this.#operations.pendingAt(place).some(({ kind }) => kind === "request");
    while (isWaiting() && clock.elapsed < end) await this.#pass(WAIT_STEP_MS);
  }

  async #traffic({ place, seconds }: StepOf<"traffic">): Promise<void> {
    const end = this.#stage.clock.elapsed + seconds * 1_000;
    while (this.#stage.clock.elapsed < end) {
      await this.#publisher.publishPlainly(place);
      await this.#pass(TRAFFIC_EVERY_MS);
    }
  }

  // Reading

  async #read({ who, place }: StepOf<"read">): Promise<void> {
    const { oracle, clock, channels } = this.#stage;
    const path = `${this.#stage.path(place)}/messages?limit=50`;
    const question = { label: `the reading by ${who}`, places: [place], method: "GET" as const, path, who };
    await this.#server.ask(question, async (answer, { from }) => {
      if (!answer.ok) return;
      const to = clock.moment();
      const [channel, identity] = [channels[place], this.#stage.identityOf(who)];
      this.#server.accepts(`${who} read ${place}`, who, from, to);
      if (!oracle.mayAllow(channel, identity, "history", from, to)) {
        oracle.failSettings(channel, "a forbidden action fails", `${who} read ${place}`);
      }
      const { seq, messages } = await pageIn(answer);
      // A page may be empty because its reader may see none of its messages.
      if (messages.length > 0) oracle.reads({ client: `the reader ${who}`, channel, who: identity, seq, messages });
    });
  }

  /** Sends requests of an anonymous client to a channel that has no settings. */
  async #knock(): Promise<void> {
    if (this.#stage.d1.fault) return;
    const channel = `${this.#stage.id}/${this.#stage.newName("nowhere")}`;
    const path = `/channels/${encodeURIComponent(channel)}`;
    const knock = { label: "the knock", places: [], who: "anonymous" as const };
    await this.#server.ask({ ...knock, method: "POST", path: "/message", body: { channel, message: 1 } });
    await this.#server.ask({ ...knock, method: "GET", path: `${path}/messages` });
    await this.#server.ask({ ...knock, method: "GET", path: `${path}/socket`, headers: { Upgrade: "websocket" } });
    const own = env.CHANNELS.idFromName(channel);
    const ids = await listDurableObjectIds(env.CHANNELS);
    if (!ids.some((id) => id.equals(own))) return;
    this.#stage.oracle.fail("a refused caller creates nothing", "a channel without settings has an object");
  }

  // The end

  async #findVanished(): Promise<void> {
    const vanished = () => this.#clients.all.filter(({ hasVanished, isOpen }) => hasVanished && isOpen);
    if (vanished().length > 0) await this.#pass(LONGEST_VANISHED_MS);
    // Where nobody watches presence, an object looks for vanished clients when somebody asks who is there.
    for (const place of PLACES) {
      const path = `${this.#stage.path(place)}/presence`;
      await this.#server.request({ method: "GET", path, who: "server" });
    }
    await this.#operations.calm();
    for (const { name } of vanished()) {
      this.#stage.oracle.fail("a vanished client is found", `${name} is open ${LONGEST_VANISHED_MS} ms later`);
    }
  }

  async #check(place: Place): Promise<void> {
    const { oracle, channels, d1 } = this.#stage;
    const history: Kept[] = [];
    for (let next: string | null = `${this.#stage.path(place)}/messages?after=0&limit=1000`; next !== null;) {
      const answer: Response = await this.#server.request({ method: "GET", path: next, who: "server" });
      if (!answer.ok) return oracle.fail("a permitted request succeeds", `reading all of ${place}: ${answer.status}`);
      const page = await pageIn(answer);
      history.push(...page.messages);
      next = page.next;
    }
    const isArchived = await this.#catchUp(place, history.length);
    const sql = "SELECT seq, time, action, client, database, payload FROM messages WHERE channel = ? ORDER BY seq";
    const archive = isArchived ? await d1.ask<Row>(sql, channels[place]) : undefined;
    oracle.check(channels[place], history, archive);
  }

  /**
   * Waits until D1 has every message: first as it is, then after something happened on the channel, then with the object
   * woken. Returns whether D1 has them.
   */
  async #catchUp(place: Place, count: number): Promise<boolean> {
    if (await this.#isArchived(place, count)) return true;
    const { oracle, channels } = this.#stage;
    await this.#askStats(place);
    if (await this.#isArchived(place, count)) return true;
    if (this.#objects.hasLostAlarm(place)) oracle.fail("a lost alarm is replaced", `${place} is not archived`);
    await this.#evict({ do: "evict", place, sockets: "hibernate" });
    await this.#askStats(place);
    if (await this.#isArchived(place, count)) return true;
    const isLarge = oracle.hasLargeSender(channels[place]);
    const rule = isLarge ? "a message with large extras is archived" : "the archive equals the log";
    oracle.fail(rule, `${place} is not archived`);
    return false;
  }

  async #askStats(place: Place): Promise<void> {
    const path = `${this.#stage.path(place)}/stats`;
    await this.#server.ask({ label: "the stats", places: [place], method: "GET", path, who: "server" });
  }

  async #isArchived(place: Place, count: number): Promise<boolean> {
    const { clock, d1, channels } = this.#stage;
    const end = clock.elapsed + CATCH_UP_MS;
    for (;;) {
      const sql = "SELECT count(*) AS count FROM messages WHERE channel = ?";
      const [rows] = await d1.ask<{ count: number }>(sql, channels[place]);
      if (rows?.count === count) return true;
      if (clock.elapsed >= end) return false;
      await this.#pass(5_000);
    }
  }

  /** Lets time pass: moves the clock to the next timer, answer, alarm or heartbeat that is due, and so on. */
  async #pass(ms: number): Promise<void> {
    const { clock, d1 } = this.#stage;
    const end = clock.elapsed + ms;
    for (;;) {
      await this.#operations.calm();
      const wasDue = await this.#objects.runDueAlarms();
      if (this.#clients.beat() || wasDue) await this.#operations.calm();
      this.#clients.checkExpiry();
      if (clock.elapsed >= end) return;
      const next = Math.min(clock.laterTimer, d1.laterAnswer, this.#objects.nextAlarm, this.#clients.nextBeat, end);
      clock.advanceTo(next);
    }
  }
}

async function pageIn(answer: Response): Promise<{ seq: number; next: string | null; messages: Kept[] }> {
  const { messages, ...page } = await answer.json<{ seq: number; next: string | null; messages: Frame[] }>();
  return { ...page, messages: messages.map(keptIn) };
}
