import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import type { Channel } from "../../../src/index.ts";
import type { Operations } from "./operations.ts";
import { PLACES, type Place } from "./schedule.ts";
import type { Stage } from "./stage.ts";

/** What is known of a channel's object. */
interface Known {
  /** When its alarm is set for, in milliseconds since the epoch; null if none is set. */
  alarm: number | null;
  isAwake: boolean;
  hasLostAlarm: boolean;
  /** When the alarm that it lost was set for, until the object must have replaced it; null if it lost none. */
  missingAlarm: number | null;
}

/** How late an alarm may be until the object takes it for lost, and a margin, in milliseconds. */
const LOST_AFTER_MS = 11_000;

/** The Durable Objects of the channels: evicts and crashes them, and runs their alarms at the simulated time. */
export class Objects {
  readonly #stage: Stage;
  readonly #operations: Operations;
  readonly #known: Record<Place, Known> = { room: asleep(), hall: asleep() };
  #uninstall = () => {};

  constructor(stage: Stage, operations: Operations) {
    this.#stage = stage;
    this.#operations = operations;
  }

  /** Notes from now on which objects are blocked (`blockConcurrencyWhile`), and when they set their alarms for. */
  async install(): Promise<void> {
    const { blocks } = this.#stage;
    const [state, storage] = await runInDurableObject(this.stub("room"), (_, own) => [
      Object.getPrototypeOf(own) as DurableObjectState,
      Object.getPrototypeOf(own.storage) as DurableObjectStorage,
    ]);
    blocks.install(state);
    const { setAlarm } = storage;
    const note = (time: number) => this.#noteAlarm(blocks.caller?.channel, time);
    storage.setAlarm = function (time) {
      note(Number(time));
      return setAlarm.call(this, time);
    };
    this.#uninstall = () => {
      blocks.uninstall();
      Object.assign(storage, { setAlarm });
    };
  }

  uninstall(): void {
    this.#uninstall();
  }

  stub(place: Place): DurableObjectStub<Channel> {
    return env.CHANNELS.getByName(this.#stage.channels[place]);
  }

  /** Notes that a request or frame wakes objects. */
  wake(places: readonly Place[]): void {
    const { wall } = this.#stage.clock;
    for (const place of places) {
      const known = this.#known[place];
      known.isAwake = true;
      if (known.missingAlarm !== null && wall > known.missingAlarm + LOST_AFTER_MS) known.missingAlarm = null;
    }
  }

  hasLostAlarm(place: Place): boolean {
    return this.#known[place].hasLostAlarm;
  }

  /** Whether it may have no alarm: it replaces a lost one only when something happens on its channel. */
  mayLackAlarm(place: Place): boolean {
    return this.#known[place].missingAlarm !== null;
  }

  async evict(place: Place, webSockets: "hibernate" | "close"): Promise<void> {
    await this.unblocked(place);
    await evictDurableObject(this.stub(place), { webSockets }).catch(() => {}); // It is not awake.
    this.#known[place].isAwake = false;
  }

  /** Ends the object in the middle of its work. */
  async crash(place: Place): Promise<void> {
    await this.unblocked(place);
    const { blocks, d1, channels } = this.#stage;
    const crash = (_: unknown, state: DurableObjectState) => {
      blocks.forget(channels[place]);
      d1.forget(channels[place]);
      state.abort("simulated crash");
    };
    await runInDurableObject(this.stub(place), crash).catch(() => {}); // The crash fails this call, too.
    this.#known[place].isAwake = false;
  }

  /** Loses the alarm while the object is awake. */
  async loseAlarm(place: Place): Promise<void> {
    const known = this.#known[place];
    if (!known.isAwake) return;
    await this.unblocked(place);
    await runInDurableObject(this.stub(place), (_, { storage }) => storage.deleteAlarm());
    known.missingAlarm = known.alarm;
    known.alarm = null;
    known.hasLostAlarm = true;
  }

  /** When the next alarm is due, by `elapsed`; Infinity if none is set. */
  get nextAlarm(): number {
    const { elapsed, wall } = this.#stage.clock;
    const alarms = PLACES.map((place) => (this.#isAlarmRunning(place) ? null : this.#known[place].alarm));
    return elapsed + Math.max(0, Math.min(...alarms.map((alarm) => alarm ?? Infinity)) - wall);
  }

  /** Runs the alarms that are due. An alarm that waits for D1 stays pending. Returns whether one was due. */
  async runDueAlarms(): Promise<boolean> {
    let wasDue = false;
    for (const place of PLACES) {
      const known = this.#known[place];
      if (known.alarm === null || known.alarm > this.#stage.clock.wall || this.#isAlarmRunning(place)) continue;
      wasDue = true;
      known.alarm = null;
      known.isAwake = true;
      await this.unblocked(place);
      const operation = { kind: "alarm" as const, label: `the alarm of ${place}`, places: [place] };
      await this.#operations.start(operation, runDurableObjectAlarm(this.stub(place)));
    }
    return wasDue;
  }

  /** Lets time pass until an object receives something again: a call from here would wait for that, too. */
  async unblocked(place: Place): Promise<void> {
    const { clock, d1, blocks, channels } = this.#stage;
    await this.#operations.calm();
    while (blocks.has(channels[place])) {
      const next = Math.min(clock.laterTimer, d1.laterAnswer);
      if (next === Infinity) throw new Error(`The object of ${place} is blocked and waits for nothing.`);
      clock.advanceTo(next);
      await this.#operations.calm();
    }
  }

  #noteAlarm(channel: string | undefined, time: number): void {
    if (channel === undefined) throw new Error("An alarm was set, and it is not known by which object.");
    const place = PLACES.find((each) => this.#stage.channels[each] === channel);
    if (place) Object.assign(this.#known[place], { alarm: time, missingAlarm: null });
  }

  #isAlarmRunning(place: Place): boolean {
    return this.#operations.pendingAt(place).some(({ kind }) => kind === "alarm");
  }
}

const asleep = (): Known => ({ alarm: null, isAwake: false, hasLostAlarm: false, missingAlarm: null });
