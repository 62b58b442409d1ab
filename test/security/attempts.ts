import { ADDRESS_HEADER, SOCKET_ID_HEADER } from "../../src/channel/channel-object.ts";
import { IDENTITY_HEADER } from "../../src/channel/identity-header.ts";
import type { Identity } from "../../src/auth/policy.ts";
import type { Frame } from "../support/frames.ts";
import { publish, stubOf, TestSocket } from "../unit/support.ts";
import { type Action, ACTIONS } from "./oracle.ts";
import { ask, open, outcomeOf, pathOf, post, socketFrom } from "./support.ts";

/**
 * What came of an attempt: "yes"; the code of the refusal; "no", where the server does less than was asked for and gives no
 * code. `seen` holds the earlier messages that the attempt showed.
 */
export interface Outcome {
  action: Action;
  /** How it was tried: an action has several ways. */
  way: string;
  outcome: string;
  seen?: string[];
  /** The message that was sent. */
  sent?: string;
}

/** What each attempt acts on. */
export interface Target {
  channel: string;
  /** The channel's auth database, or one that is not the channel's where it has none. */
  database: string;
  /** A socket that receives private messages. */
  recipient: string;
  /** Is part of each message that an attempt sends. */
  name: string;
}

/** How each message that stood in the channel before the attempts begins. */
export const EARLIER = "earlier ";

const isEarlier = (payload: unknown): payload is string => typeof payload === "string" && payload.startsWith(EARLIER);
const earlierIn = (frames: { payload: unknown }[]) => frames.map(({ payload }) => payload).filter(isEarlier);

/** The number of attempts that each function makes. */
export const ATTEMPTS = { http: 5, socket: 10, object: 5 };

/** Tries everything that HTTP has to offer. */
export async function overHttp(
  { channel, database, name }: Target,
  headers: Record<string, string>,
): Promise<Outcome[]> {
  const send = async (action: Action, message: string, more: object = {}): Promise<Outcome> => {
    const answer = await post("/message", { channel, message, ...more }, headers);
    return { action, way: "POST /message", outcome: await outcomeOf(answer), sent: message };
  };
  const inBatch = `${name} POST batch`;
  const batch = await post("/messages", [{ channel, message: inBatch }], headers);
  const page = await ask(`${pathOf(channel)}/messages`, { headers });
  const shown = page.ok ? earlierIn((await page.clone().json<{ messages: Frame[] }>()).messages) : undefined;
  const presence = await ask(`${pathOf(channel)}/presence`, { headers });
  return [
    await send("publish", `${name} POST`),
    { action: "publish", way: "POST /messages", outcome: await resultOf(batch), sent: inBatch },
    await send("message-authenticated", `${name} POST restricted`, { database }),
    { action: "history", way: "GET messages", outcome: await outcomeOf(page), ...(shown && { seen: shown }) },
    { action: "presence", way: "GET presence", outcome: await outcomeOf(presence) },
  ];
}

/** The outcome of a batch of one message. */
async function resultOf(answer: Response): Promise<string> {
  const { results = [] } = await answer.json<{ results?: { status: number; type?: string }[] }>();
  const [result] = results;
  return result?.status === 201 ? "yes" : (result?.type?.replace("/problems/", "") ?? `status ${answer.status}`);
}

/** Tries everything over the channel's own socket. */
export async function overSocket(target: Target, headers: Record<string, string>): Promise<Outcome[]> {
  return overOpened(target, await open(`${pathOf(target.channel)}/socket`, headers));
}

/** Tries everything over a multiplexed connection. */
export async function overMany(target: Target, headers: Record<string, string>): Promise<Outcome[]> {
  return overOpened(target, await open("/rt/canonical", headers));
}

/** Tries everything over a socket to the channel's object, as an identity that the Worker found out. */
export async function overObject(target: Target, identity: Identity): Promise<Outcome[]> {
  const headers = {
    Upgrade: "websocket",
    [IDENTITY_HEADER]: encodeURIComponent(JSON.stringify(identity)),
    [SOCKET_ID_HEADER]: crypto.randomUUID(),
    [ADDRESS_HEADER]: crypto.randomUUID(),
  };
  const answer = await stubOf(target.channel).fetch("https://channels.test/", { headers });
  return overOpened(target, socketFrom(answer) ?? (await answer.json<{ code: string }>()).code);
}

/** Calls the methods of the channel's object, as an identity that the Worker found out. */
export async function byMethods(target: Target, identity: Identity): Promise<Outcome[]> {
  const stub = stubOf(target.channel);
  const codeOf = (result: { ok: true } | { ok: false; fault: { code: string } } | undefined) =>
    result?.ok === true ? "yes" : (result?.fault.code ?? "no answer");
  const send = async (action: Action, sent: string, database: string | null): Promise<Outcome> => {
    const messages = [{ payload: JSON.stringify(sent), client: null, database, type: null }];
    const [[result] = []] = await stub.publish([{ who: identity, messages }]);
    return { action, way: "publish()", outcome: codeOf(result), sent };
  };
  const page = await stub.history(identity, { limit: 1_000 });
  return [
    await send("publish", `${target.name} method`, null),
    await send("message-authenticated", `${target.name} method restricted`, target.database),
    { action: "history", way: "history()", outcome: codeOf(page) },
    { action: "history", way: "locate()", outcome: codeOf(await stub.locate(identity, [0])) },
    { action: "presence", way: "presence()", outcome: codeOf(await stub.presence(identity, 10)) },
  ];
}

/**
 * Sends one frame for each action, and a join after each: the answer to the join says that all answers to the frame before it
 * have arrived.
 */
async function overOpened(target: Target, socket: TestSocket | string): Promise<Outcome[]> {
  if (typeof socket === "string") return refusedAll(socket);
  const { channel, recipient, name } = target;
  const send = (frame: { action: string; options?: object }) =>
    socket.send({ ...frame, options: { channel, ...frame.options } });
  send(FENCE);
  const first = await socket.frame();
  if (first.action === "error") {
    socket.socket.close();
    return refusedAll(codeIn(first));
  }
  // One join asks for history and presence: a client gets 3 such answers at once (LIM13), and the other two follow.
  const attempts: [Action | [Action, Action], string, { action: string; options?: object; payload?: unknown }][] = [
    [["history", "presence"], "join", { action: "join", payload: { history: true, presence: true } }],
    ["history", "history frame", { action: "history" }],
    ["history", RESUME, { action: "join", options: { after: 0 } }],
    ["message", "message frame", { action: "message", payload: `${name} frame` }],
    [
      "message-authenticated",
      RESTRICTED_FRAME,
      { action: "message", options: { authenticated: true }, payload: `${name} frame restricted` },
    ],
    [
      "message-private",
      "message frame",
      { action: "message", options: { socketId: recipient }, payload: `${name} frame private` },
    ],
  ];
  const outcomes: Outcome[] = [{ action: "subscribe", way: "join", outcome: "yes" }];
  for (const [actions, way, frame] of attempts) {
    send(frame);
    send(FENCE);
    const answers = await upToFence(socket, frame.action === "join" ? 2 : 1);
    const sent = typeof frame.payload === "string" ? { sent: frame.payload } : {};
    for (const action of [actions].flat()) outcomes.push({ action, way, ...outcomeIn(action, way, answers), ...sent });
  }
  await publish(channel, `${name} live`);
  await publish(channel, `${name} live again`);
  send(FENCE);
  const live = (await upToFence(socket, 1)).filter(({ payload }) => String(payload).startsWith(`${name} live`));
  outcomes.push({ action: "receive", way: "first event", outcome: live.length > 0 ? "yes" : "no" });
  outcomes.push({ action: "receive", way: "each event", outcome: live.length === 2 ? "yes" : "no" });
  socket.socket.close();
  return outcomes;
}

export const RESUME = "resume";
export const RESTRICTED_FRAME = "restricted message frame";
const FENCE = { action: "join", payload: {} };
const codeIn = ({ payload }: Frame) => (payload as { code: string }).code;

/** An identity that may not subscribe may do nothing else over a socket. */
function refusedAll(code: string): Outcome[] {
  const outcomes = ACTIONS.filter((action) => action !== "publish").map((action) => ({
    action,
    way: "socket",
    outcome: code,
  }));
  const others = ["history", "history", "receive"] as const;
  return [...outcomes, ...others.map((action) => ({ action, way: "socket", outcome: code }))];
}

/** The frames up to the answer to the last of so many joins. */
async function upToFence(socket: TestSocket, joins: number): Promise<Frame[]> {
  const frames: Frame[] = [];
  for (let left = joins; left > 0;) {
    const frame = await socket.frame();
    frames.push(frame);
    if (frame.action === "join") left -= 1;
  }
  return frames;
}

function outcomeIn(action: Action, way: string, answers: Frame[]): Pick<Outcome, "outcome" | "seen"> {
  const refused = answers.find((frame) => frame.action === "error");
  if (refused) return { outcome: codeIn(refused) };
  if (way === RESUME) {
    const isResumed = answers[0]?.options.resumed === true;
    return isResumed ? { outcome: "yes", seen: earlierIn(answers) } : { outcome: "no" };
  }
  switch (action) {
    case "presence":
      return { outcome: answers.some((frame) => frame.action === "presence_full") ? "yes" : "no" };
    case "history": {
      const history = answers.find((frame) => frame.action === "history");
      return history ? { outcome: "yes", seen: earlierIn(history.payload as Frame[]) } : { outcome: "no" };
    }
    case "message-private":
      return { outcome: "yes" };
    default:
      // A sender receives its own message, too.
      return { outcome: answers.some((frame) => frame.action === "message") ? "yes" : "no" };
  }
}
