import type { Moment } from "./clock.ts";
import { openSettings, type Settings } from "./policy.ts";
import { PLACES, type Place, type SettingsChange, type StepOf } from "./schedule.ts";
import type { Server, Verification } from "./server.ts";
import { EXTRAS, ROW_IDS, type Stage, type User } from "./stage.ts";
import type { Announced } from "./timeline.ts";

/** How long the Worker may go on verifying as before, in milliseconds. */
const VERIFICATION_GRACE_MS = 5_000;

/** Changes settings, the auth database and tokens, as the API-key client. Reports to the oracle what D1 stores then. */
export class Administrator {
  readonly #stage: Stage;
  readonly #server: Server;
  /** The settings in D1, by the channel or pattern that they are stored for. */
  #stored = new Map<string, Settings>();
  /** Changes whose outcome is not known yet. */
  #changes = 0;

  constructor(stage: Stage, server: Server) {
    this.#stage = stage;
    this.#server = server;
  }

  /** Opens both channels to everyone, and gives each user a fresh token. */
  async openAll(): Promise<void> {
    await this.changeDatabase(undefined);
    await this.changeSettings({ of: "room", change: {} });
    await this.changeSettings({ of: "hall/*", change: {} });
    await this.changeSettings({ of: "hall", change: null });
    await this.mint("ann", 3_600);
    await this.mint("bob", 3_600);
  }

  async changeSettings({ of, change }: Omit<StepOf<"settings">, "do">): Promise<void> {
    const name = of === "hall/*" ? this.#stage.pattern : this.#stage.channels[of];
    const settings = change && this.#complete(change);
    const announced = this.#announce(name, settings);
    const places = of === "hall/*" ? [] : [of];
    const question = { places, path: `/channels/${encodeURIComponent(name)}`, ...put(settings) };
    this.#changes += 1;
    const { from, isDone } = await this.#ask(`the change of the settings of ${of}`, question, async (answer, start) => {
      this.#changes -= 1;
      await this.#learn(start, answer.ok && of !== "hall/*" ? of : undefined);
      for (const each of announced) each.until = this.#stage.clock.moment();
    });
    if (!isDone) await this.#learn(from);
  }

  /** Checks whether a change that was not answered yet has taken effect. */
  async follow(): Promise<void> {
    if (this.#changes > 0) await this.#learn(this.#stage.clock.moment());
  }

  async changeDatabase(issuer: string | undefined | null): Promise<void> {
    const { id, number, d1, clock } = this.#stage;
    const config = { dbo_id: number, secret: "AUTH_SECRET", extras_claim: "extras", ...(issuer && { issuer }) };
    const question = { places: [], path: `/databases/${id}`, ...put(issuer === null ? null : config) };
    const { from } = await this.#ask("the change of the auth database", question);
    const [row] = await d1.ask<{ config: string }>("SELECT config FROM databases WHERE name = ?", id);
    const verification = row ? (JSON.parse(row.config) as Verification) : null;
    this.#server.verifications.note(verification, from, clock.moment(), VERIFICATION_GRACE_MS);
  }

  /** Makes a new token for a user. If that fails, the user keeps the token it has. */
  async mint(who: User, seconds: number): Promise<void> {
    const body = { id: ROW_IDS[who], extras: EXTRAS[who], expires_in: seconds };
    const issuer = this.#server.verifications.latest?.issuer;
    const question = { method: "POST" as const, places: [], path: `/databases/${this.#stage.id}/tokens`, body };
    await this.#ask(`the token of ${who}`, question, async (answer) => {
      if (answer.status !== 201) return;
      const { token, expires } = await answer.json<{ token: string; expires: string }>();
      this.#server.tokens.set(who, { text: token, expires: Date.parse(expires), issuer });
    });
  }

  #ask(
    label: string,
    question: { method: "PUT" | "POST" | "DELETE"; places: Place[]; path: string; body?: unknown },
    take: (answer: Response, from: Moment) => unknown = () => {},
  ) {
    const all = { ...question, label, who: "server" as const, isAdministration: true };
    return this.#server.ask(all, (answer, { from }) => take(answer, from));
  }

  #complete(change: SettingsChange): Settings {
    return Object.assign(openSettings(this.#stage.id), change);
  }

  /** Reports to the oracle which settings each channel would have if a change succeeded. */
  #announce(name: string, settings: Settings | null): Announced<Settings | null>[] {
    const stored = new Map(this.#stored);
    if (settings) stored.set(name, settings);
    else stored.delete(name);
    const { oracle, channels } = this.#stage;
    return PLACES.map((place) => oracle.announceSettings(channels[place], this.#effective(place, stored)));
  }

  /** Reads from D1 which settings are stored now. `notified` is the channel whose object was notified of a change. */
  async #learn(from: Moment, notified?: Place): Promise<void> {
    const { id, d1, oracle, channels } = this.#stage;
    const sql = "SELECT name, settings FROM channels WHERE name LIKE ?";
    const rows = await d1.ask<{ name: string; settings: string }>(sql, `${id}/%`);
    this.#stored = new Map(rows.map(({ name, settings }) => [name, JSON.parse(settings) as Settings]));
    for (const place of PLACES) {
      oracle.noteSettings(channels[place], this.#effective(place, this.#stored), from, notified === place);
    }
  }

  /** The settings that hold for a channel, by those that are stored (SET1). */
  #effective(place: Place, stored: ReadonlyMap<string, Settings>): Settings | null {
    const inherited = place === "hall" ? stored.get(this.#stage.pattern) : undefined;
    return stored.get(this.#stage.channels[place]) ?? inherited ?? null;
  }
}

/** The method and body that store a value, or that remove it if it is null. */
function put(body: object | null): { method: "PUT" | "DELETE"; body?: object } {
  return body ? { method: "PUT", body } : { method: "DELETE" };
}
