import { Validator } from "@seriousme/openapi-schema-validator";
import asyncapiSpecs from "@asyncapi/specs";
import { Ajv } from "ajv";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import ajvFormats from "ajv-formats";
import { beforeAll, describe, expect, it } from "vitest";
import { call, connect, join, publish, target, type TestSocket } from "./support.ts";

interface Media {
  schema: { $ref: string };
  example: unknown;
  examples?: Record<string, { value: unknown }>;
}
type Content = Record<string, Media>;

interface Operation {
  operationId: string;
  parameters?: { name: string; in: "path" | "query" | "header"; schema: object; example?: string | number }[];
  requestBody?: { content: Content };
  responses: Record<string, { content?: Content }>;
}

interface OpenApi {
  paths: Record<string, Record<string, Operation>>;
  components: object;
}

interface AsyncApi {
  components: { messages: Record<string, { payload: object; examples: { payload: unknown }[] }>; schemas: object };
  operations: Record<string, { action: "send" | "receive"; messages: { $ref: string }[] }>;
}

const JSON_TYPE = "application/json";

async function fetchDocument<T>(path: string): Promise<T> {
  const answer = await fetch(`${target().url}${path}`);
  expect([answer.status, answer.headers.get("Content-Type")]).toEqual([200, JSON_TYPE]);
  return (await answer.json()) as T;
}

/** Validates by the schemas of a document, which refer to each other within it. */
function validatorOf(document: object): (schema: object, value: unknown) => string[] {
  const ajv = new Ajv2020({ strict: true, allErrors: true });
  ajvFormats.default(ajv);
  // The document itself is no schema, but what its references lead into.
  ajv.addVocabulary(Object.keys(document));
  ajv.addSchema({ ...document, $id: "document" });
  const known = new Map<string, ValidateFunction>();
  return (schema, value) => {
    const text = JSON.stringify(schema).replaceAll('"#/', '"document#/');
    const validate = known.get(text) ?? ajv.compile(JSON.parse(text) as object);
    known.set(text, validate);
    validate(value);
    return (validate.errors ?? []).map(({ instancePath, message }) => `${instancePath} ${message}`);
  };
}

const openapi = await fetchDocument<OpenApi>("/openapi.json");
const asyncapi = await fetchDocument<AsyncApi>("/asyncapi.json");
const check = validatorOf(openapi);
const checkFrame = validatorOf(asyncapi);

const operations = Object.entries(openapi.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })),
);

describe("the documents (SRV2)", () => {
  it("are valid: OpenAPI 3.1 and AsyncAPI 3", async () => {
    expect(await new Validator().validate({ ...structuredClone(openapi) })).toEqual({ valid: true });
    const ajv = new Ajv({ strict: false, allErrors: true });
    ajvFormats.default(ajv);
    const isValid = ajv.compile({ ...asyncapiSpecs.schemasWithoutId["3.0.0"] } as object);
    isValid(asyncapi);
    expect(isValid.errors ?? []).toEqual([]);
  });

  it("may be read by pages of any origin, unlike everything else", async () => {
    const headers = { Origin: "https://editor.test" };
    for (const path of ["/openapi.json", "/asyncapi.json"]) {
      const answer = await fetch(`${target().url}${path}`, { headers });
      expect(answer.headers.get("Access-Control-Allow-Origin")).toBe("*");
    }
    expect((await fetch(`${target().url}/health`, { headers })).status).toBe(403);
  });

  it("have only references that exist", () => {
    for (const document of [openapi, asyncapi]) {
      for (const [, path = ""] of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)) {
        const found = path.split("/").reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], document);
        expect(found, path).toBeDefined();
      }
    }
  });

  it("have only examples that match their own schemas", () => {
    for (const { operation } of operations) {
      const { operationId, parameters = [], requestBody, responses } = operation;
      for (const { name, schema, example } of parameters)
        if (example !== undefined) expect(check(schema, example), `${operationId} ${name}`).toEqual([]);
      const contents = [requestBody, ...Object.values(responses)].flatMap((part) => Object.values(part?.content ?? {}));
      for (const { schema, example, examples = {} } of contents) {
        const all = [...(example === undefined ? [] : [example]), ...Object.values(examples).map(({ value }) => value)];
        for (const value of all) expect(check(schema, value), operationId).toEqual([]);
      }
    }
    for (const [name, { payload, examples }] of Object.entries(asyncapi.components.messages)) {
      for (const example of examples) expect(checkFrame(payload, example.payload), name).toEqual([]);
    }
  });
});

describe("each example of openapi.json is accepted and answered as documented", () => {
  /** What has to be there first comes first: databases, then the channels that name them; and last what removes them. */
  const order = ["PUT", "POST", "GET", "DELETE"];
  const sorted = operations
    .filter(({ operation }) => !("101" in operation.responses))
    .toSorted((a, b) => order.indexOf(a.method) - order.indexOf(b.method) || (a.path < b.path ? 1 : -1));

  it.each(sorted)("$method $path", async ({ method, path, operation }) => {
    const { parameters = [], requestBody, responses } = operation;
    const answer = await send(method, path, parameters, requestBody?.content[JSON_TYPE]?.example);
    const successes = Object.keys(responses).filter((status) => Number(status) < 300);
    expect(successes, answer.ok ? "" : await answer.text()).toContain(String(answer.status));
    const { content } = responses[String(answer.status)] ?? {};
    const [[type, media] = []] = Object.entries(content ?? {});
    if (type === undefined || media === undefined) return;
    expect(answer.headers.get("Content-Type")).toContain(type);
    if (type === JSON_TYPE) expect(check(media.schema, await answer.json())).toEqual([]);
  });

  function send(method: string, path: string, parameters: Operation["parameters"] & object, body: unknown) {
    const valuesOf = (place: string) =>
      parameters.flatMap((one) =>
        one.in === place && one.example !== undefined ? [[one.name, String(one.example)] as const] : [],
      );
    const filled = valuesOf("path").reduce(
      (at, [name, value]) => at.replace(`{${name}}`, encodeURIComponent(value)),
      path,
    );
    const query = new URLSearchParams(valuesOf("query").map(([name, value]) => [name, value])).toString();
    const headers = {
      Authorization: `Bearer ${target().apiKey}`,
      "Content-Type": JSON_TYPE,
      ...Object.fromEntries(valuesOf("header")),
    };
    const url = `${target().url}${filled}${query && "?"}${query}`;
    return fetch(url, { method, headers, body: body === undefined ? null : JSON.stringify(body) });
  }
});

describe("each frame", () => {
  const namesOf = (action: "send" | "receive") => {
    const { messages = [] } = Object.values(asyncapi.operations).find((operation) => operation.action === action) ?? {};
    return messages.map(({ $ref }) => $ref.split("/").at(-1) ?? "");
  };
  const exampleOf = (name: string) => asyncapi.components.messages[name]?.examples[0]?.payload;

  /** The names of the server's frames whose schema takes a frame. */
  const kindsOf = (value: unknown) =>
    namesOf("send").filter((name) => checkFrame(asyncapi.components.messages[name]?.payload ?? {}, value).length === 0);

  let member: TestSocket;
  let channel = "";
  const seen = new Set<string>();
  const refusals: string[] = [];

  /** Takes frames until one is of a kind; each must be of one kind just. */
  async function until(socket: TestSocket, kind: string): Promise<void> {
    for (;;) {
      const text = await socket.text();
      const kinds = kindsOf(text === "pong" ? text : JSON.parse(text));
      expect(kinds, text).toHaveLength(1);
      seen.add(kinds[0] ?? "");
      if (kinds[0] === "Error") refusals.push(text);
      if (kinds[0] === kind) return;
    }
  }

  beforeAll(async () => {
    channel = (exampleOf("Join") as { options: { channel: string } }).options.channel;
    const database = "docs-frames";
    await call(target(), "PUT", `/databases/${database}`, { dbo_id: 1141, secret: "AUTH_SECRET" });
    const settings = {
      anonymous_clients: true,
      presence: true,
      message_history: 100,
      public_messaging: { active: true },
      private_messaging: { active: true },
      database,
    };
    await call(target(), "PUT", `/channels/${encodeURIComponent(channel)}`, settings);
    member = await connect({ ...target(), apiKey: await userToken(42) }, channel);
  });

  /** What answers each of a client's frames. */
  const ANSWERS: Record<string, string> = {
    Join: "PresenceFull",
    History: "HistoryAnswer",
    Message: "ClientMessage",
    SetPresence: "Ack",
    Publish: "Ack",
    Heartbeat: "HeartbeatAnswer",
    Leave: "Left",
  };

  it.each(Object.keys(ANSWERS))("that a client sends is accepted as documented: %s", async (name) => {
    // Only an API-key client may publish.
    const sender = name === "Publish" ? await connect(target(), channel) : member;
    sender.send(exampleOf(name) as object);
    await until(sender, ANSWERS[name] ?? "");
    expect(refusals).toEqual([]);
  });

  it("that a client sends is covered here", () => {
    expect(namesOf("receive").toSorted()).toEqual(Object.keys(ANSWERS).toSorted());
  });

  it("that the server sends matches one documented kind, and each documented kind is sent", async () => {
    member.send({ action: "join", payload: { presence: true } });
    await until(member, "PresenceFull");
    await publish(target(), channel, "assemble");
    await until(member, "Event");
    const other = await connect({ ...target(), apiKey: await userToken(43) }, channel);
    other.send({ action: "join" });
    const { client } = await other.frame();
    await until(member, "PresenceUpdate");
    member.send({ action: "message", options: { socketId: client?.socketId }, payload: "psst" });
    await until(other, "PrivateMessage");
    member.send({ action: "message", options: { ephemeral: true }, payload: "typing" });
    await until(other, "Ephemeral");
    member.send({ action: "message", options: { after: -1 } });
    await until(member, "Error");
    const late = await join(target(), channel, { after: 1_000_000 });
    expect(kindsOf(late.answer)).toEqual(["Joined"]);
    expect([...seen].toSorted()).toEqual(namesOf("send").toSorted());
  });

  it("that the schemas refuse is refused by the server, too", async () => {
    const refused = [
      { action: "jump" },
      { action: "join", options: { after: -1 } },
      { action: "join", payload: { hisstory: true } },
      { action: "leave", payload: 1 },
      { action: "message" },
      { action: "message", options: { channel: "a//b" }, payload: 1 },
    ];
    for (const frame of refused) {
      const kinds = namesOf("receive").filter(
        (name) => checkFrame(asyncapi.components.messages[name]?.payload ?? {}, frame).length === 0,
      );
      expect(kinds, JSON.stringify(frame)).toEqual([]);
      member.send(frame);
      await until(member, "Error");
    }
  });

  async function userToken(id: number): Promise<string> {
    const made = await call(target(), "POST", "/databases/docs-frames/tokens", { id });
    return ((await made.json()) as { token: string }).token;
  }
});
