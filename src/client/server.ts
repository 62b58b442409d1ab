import { SUBPROTOCOL } from "../protocol/subprotocol.ts";
import { ChannelError, errorOf } from "./errors.ts";

/** A credential, or how to get one; asked anew for each request and each connection, since tokens expire. */
export type Token = string | (() => string | Promise<string>);

/** After how many milliseconds without an answer a request is given up. */
const REQUEST_TIMEOUT_MS = 20_000;

interface JsonRequest {
  method?: "POST";
  headers?: Record<string, string>;
  body?: string;
}

/** The server as a client sees it: where it is, and the credential that it is shown. */
export class Server {
  readonly #url: string;
  readonly #token: Token | undefined;

  /** @param url Its origin. */
  constructor(url: string, token: Token | undefined) {
    this.#url = url.replace(/\/+$/, "");
    this.#token = token;
  }

  /** Whether a token that has expired may be followed by a fresh one. */
  get renewsToken(): boolean {
    return typeof this.#token === "function";
  }

  /** Where a channel's socket is; coalesced frames are asked for. */
  socketUrl(channel: string): string {
    return `${this.#url.replace(/^http/, "ws")}/channels/${encodeURIComponent(channel)}/socket?frames=batch`;
  }

  /** The subprotocols to offer: browsers can send a credential with a WebSocket in no other way. */
  async protocols(): Promise<string[]> {
    const token = await this.#credential();
    return token === undefined ? [SUBPROTOCOL] : [SUBPROTOCOL, token];
  }

  /**
   * Makes a request, and answers with what the JSON of its answer holds.
   *
   * @throws ChannelError, with the server's problem, or `network` or `token` where there was no answer.
   */
  async request<T>(path: string, { headers, ...init }: JsonRequest = {}): Promise<T> {
    const token = await this.#credential();
    const all: RequestInit = {
      ...init,
      headers: { ...headers, ...(token !== undefined && { Authorization: `Bearer ${token}` }) },
      signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
    };
    try {
      const answer = await fetch(`${this.#url}${path}`, all);
      if (!answer.ok) throw await errorOf(answer);
      return (await answer.json()) as T;
    } catch (cause) {
      if (cause instanceof ChannelError) throw cause;
      throw new ChannelError("network", "The server did not answer.", { cause });
    }
  }

  async #credential(): Promise<string | undefined> {
    if (typeof this.#token !== "function") return this.#token;
    try {
      return await this.#token();
    } catch (cause) {
      throw new ChannelError("token", "There is no token to be had just now.", { cause });
    }
  }
}
