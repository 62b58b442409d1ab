import { exports } from "cloudflare:workers";
import type { Credential } from "./client.ts";
import type { Moment } from "./clock.ts";
import type { Objects } from "./objects.ts";
import type { Operation, Operations } from "./operations.ts";
import type { Place, Who } from "./schedule.ts";
import { isUser, type Stage } from "./stage.ts";
import { Timeline } from "./timeline.ts";

const API_KEY = "first-key-of-the-tests";
const ORIGIN = "https://channels.test";

export interface Token {
  text: string;
  /** In milliseconds since the epoch. */
  expires: number;
  issuer: string | undefined;
}

/** How the auth database verifies tokens; null if there is none. */
export type Verification = { issuer?: string } | null;

/** A request to the Worker. */
export interface Question {
  label: string;
  /** The channels whose objects it reaches. */
  places: readonly Place[];
  method: "GET" | "PUT" | "POST" | "DELETE";
  path: string;
  who: Who;
  body?: unknown;
  headers?: Record<string, string>;
  isAdministration?: boolean;
}

/** Sends requests to the Worker, with the credentials of the callers. */
export class Server {
  readonly #stage: Stage;
  readonly #operations: Operations;
  readonly #objects: Objects;
  readonly tokens = new Map<Who, Token>();
  readonly verifications: Timeline<Verification>;

  constructor(stage: Stage, operations: Operations, objects: Objects) {
    this.#stage = stage;
    this.#operations = operations;
    this.#objects = objects;
    this.verifications = new Timeline<Verification>(stage.clock);
  }

  /** Sends a request, and waits for the answer unless it needs simulated time to pass. */
  ask(question: Question, take?: (answer: Response, operation: Operation) => unknown): Promise<Operation> {
    const { label, places, isAdministration } = question;
    this.#objects.wake(places);
    const kind = isAdministration === true ? "administration" : "request";
    return this.#operations.start({ kind, label, places }, this.request(question), take);
  }

  request({ method, path, who, body, headers }: Omit<Question, "label" | "places">): Promise<Response> {
    const credential = who === "server" ? API_KEY : this.tokens.get(who)?.text;
    const all = {
      "Content-Type": "application/json",
      "CF-Connecting-IP": `${this.#stage.id}-${who}`,
      ...(credential !== undefined && { Authorization: `Bearer ${credential}` }),
      ...headers,
    };
    const text = body === undefined ? null : JSON.stringify(body);
    return exports.default.fetch(new Request(`${ORIGIN}${path}`, { method, headers: all, body: text }));
  }

  /** The credential that a caller shows now. A connection keeps the one that it was opened with. */
  credentialOf(who: Who): Credential {
    const token = isUser(who) ? this.tokens.get(who) : undefined;
    const mayBeRefused = (from: Moment, to: Moment) => isUser(who) && !this.#isGood(token, from, to);
    return { expires: token?.expires ?? Infinity, mayBeRefused };
  }

  /** Reports that a permitted request was refused, unless its token or a fault may be the reason. */
  refuses(what: string, channel: string, who: Who, { from, isDisturbed }: Operation, to: Moment): void {
    const { oracle } = this.#stage;
    if (isDisturbed || oracle.isTroubled(from, to) || this.credentialOf(who).mayBeRefused(from, to)) return;
    oracle.failSettings(channel, "a permitted request succeeds", what);
  }

  /** Reports that something succeeded for which the caller had no valid token. */
  accepts(what: string, who: Who, from: Moment, to: Moment): void {
    const { oracle } = this.#stage;
    const token = this.tokens.get(who);
    if (!isUser(who) || !token) return;
    // Clocks may differ by 5 seconds (AUT6), and `exp` counts in whole ones.
    const isLive = token.expires + 6_000 > Math.min(from.wall, to.wall);
    if (isLive && this.#plausible(from, to).some((verification) => isFor(verification, token))) return;
    oracle.fail("a forbidden action fails", `${what} with a token that is not valid`);
  }

  /** Whether a token is valid by every configuration that the Worker may have used. */
  #isGood(token: Token | undefined, from: Moment, to: Moment): boolean {
    if (!token || token.expires <= Math.max(from.wall, to.wall)) return false;
    return this.#plausible(from, to).every((verification) => isFor(verification, token));
  }

  /** The configurations that the Worker may have used between two moments. */
  #plausible(from: Moment, to: Moment): Verification[] {
    const { verifications } = this;
    return this.#stage.oracle.isTroubled(from, to) ? verifications.all(to) : verifications.plausible(from, to);
  }
}

function isFor(verification: Verification, { issuer }: Token): boolean {
  return verification !== null && (verification.issuer === undefined || verification.issuer === issuer);
}
