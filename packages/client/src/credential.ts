import { ChannelError } from "./errors.ts";

/** A credential, or a function that returns one. The client calls the function when it needs a new token. */
export type Token = string | (() => string | Promise<string>);

/** How long before its expiry a token is replaced, unless it lives for less than twice as long. */
const RENEW_BEFORE_MS = 30_000;
/** With a longer delay a timer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Keeps the token until shortly before it expires, or until the server refuses it. */
export class Credential {
  readonly #source: Token | undefined;
  #token: string | undefined;
  /** When to get a new token, in milliseconds since the epoch. Infinite if the token does not say when it expires. */
  #renewAt = 0;
  /** The call of the function that is under way. */
  #call: Promise<string> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** How many connections use the token. */
  #users = 0;

  constructor(source: Token | undefined) {
    this.#source = source;
  }

  /** Whether the client can get a new token after one has expired. */
  get isRenewable(): boolean {
    return typeof this.#source === "function";
  }

  /** Returns whether there is another token already. */
  isReplaced(token: string | undefined): boolean {
    return this.#token !== undefined && this.#token !== token;
  }

  /**
   * Returns the token.
   *
   * @throws ChannelError `token` if the function failed
   */
  async get(): Promise<string | undefined> {
    if (typeof this.#source !== "function") return this.#source;
    if (this.#token !== undefined && Date.now() < this.#renewAt) return this.#token;
    return this.#renew(this.#source);
  }

  /** Call this when the server has refused a token or it has expired. */
  refused(token: string | undefined): void {
    if (token === this.#token) this.#token = undefined;
  }

  /** Renews the token in time from now on, because a connection uses it. Returns a function that ends this. */
  use(): () => void {
    this.#users += 1;
    this.#schedule();
    return () => {
      this.#users -= 1;
      if (this.#users === 0 && this.#timer !== undefined) clearTimeout(this.#timer);
    };
  }

  #renew(source: () => string | Promise<string>): Promise<string> {
    this.#call ??= this.#fetch(source).finally(() => (this.#call = undefined));
    return this.#call;
  }

  async #fetch(source: () => string | Promise<string>): Promise<string> {
    try {
      const token = await source();
      const milliseconds = expiryOf(token) - Date.now();
      this.#token = token;
      this.#renewAt = Date.now() + milliseconds - Math.min(RENEW_BEFORE_MS, milliseconds / 2);
      this.#schedule();
      return token;
    } catch (cause) {
      throw new ChannelError("token", "The token function failed, so nothing was sent. See the error's cause.", {
        cause,
      });
    }
  }

  /** If the function fails, the client calls it again when it needs the token. */
  #schedule(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    const milliseconds = this.#renewAt - Date.now();
    if (this.#users === 0 || this.#token === undefined || milliseconds <= 0 || milliseconds > LONGEST_TIMER_MS) return;
    this.#timer = setTimeout(() => void this.get().catch(() => {}), milliseconds);
  }
}

/** Returns when a JWT expires, in milliseconds since the epoch. Infinite if the token does not say. */
function expiryOf(token: string): number {
  try {
    const payload = token.split(".")[1] ?? "";
    const { exp } = JSON.parse(atob(payload.replaceAll("-", "+").replaceAll("_", "/"))) as { exp?: unknown };
    return typeof exp === "number" ? exp * 1_000 : Infinity;
  } catch {
    return Infinity;
  }
}
