import { type ErrorCode, ERRORS, problemOf } from "../protocol/errors.ts";
import { inlineSchema, refTo, schemasOf } from "./components.ts";
import { FAULTS } from "./examples.ts";
import type { Answer, Operation, Parameter } from "./operation.ts";
import { OPERATIONS } from "./operations.ts";
import { HTTP } from "./schemas.ts";

const TAGS = [
  ["Publishing", "Store messages and deliver them."],
  ["Reading", "Read history and presence."],
  ["Sockets", "Receive and send messages live. [asyncapi.json](/asyncapi.json) describes the frames."],
  ["Settings", "What clients may do on a channel. For API-key clients only."],
  ["Auth databases", "The users whose tokens channels accept. For API-key clients only."],
  ["The server", "Health, documents, and explanations of errors."],
] as const;

/**
 * Returns the description of the HTTP interface as an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1.html).
 */
export function openapi(version: string): object {
  return {
    openapi: "3.1.0",
    info: {
      title: "durable-channels",
      version,
      summary: "Realtime channels with a durable, ordered history",
      description:
        "Publish over HTTP, receive over a WebSocket, and read everything back in order. Your backend sends an API key, which allows everything. Users send a token of the channel's auth database. Users and anonymous clients may do what the channel's settings allow. The schemas have the limits, and PROTOCOL.md has all rules.",
      license: { name: "MIT", identifier: "MIT" },
    },
    tags: TAGS.map(([name, description]) => ({ name, description })),
    paths: { ...pathsOf(OPERATIONS), ...DOCUMENTS },
    components: {
      schemas: schemasOf(HTTP),
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          description: "An API key, or a token (JWT) of the auth database that the channel's settings name.",
        },
      },
    },
  };
}

function pathsOf(operations: Operation[]): Record<string, object> {
  const paths: Record<string, Record<string, object>> = {};
  for (const operation of operations) {
    paths[operation.path] = { ...paths[operation.path], [operation.method]: operationObject(operation) };
  }
  return paths;
}

function operationObject({
  id,
  tag,
  summary,
  description,
  access,
  parameters,
  body,
  answer,
  otherAnswer,
  errors,
}: Operation): object {
  return {
    operationId: id,
    tags: [tag],
    summary,
    description,
    security: access === "server" ? [{ bearer: [] }] : access === "anybody" ? [{ bearer: [] }, {}] : [{}],
    parameters: parameters.map(parameterObject),
    ...(body && { requestBody: { required: true, content: contentObject(body) } }),
    responses: {
      [answer.status]: answerObject(answer),
      ...(otherAnswer && { [otherAnswer.status]: answerObject(otherAnswer) }),
      ...refusals(errors),
    },
  };
}

function answerObject({ description, link, content }: Answer): object {
  return {
    description,
    ...(link === true && { headers: { Link: LINK } }),
    ...(content && { content: contentObject(content) }),
  };
}

function parameterObject({ name, in: place, schema, description, example }: Parameter): object {
  const required = place === "path" ? { required: true } : {};
  const filledIn = example === undefined ? {} : { example };
  return { name, in: place, ...required, description, schema: inlineSchema(schema), ...filledIn };
}

function contentObject({ schema, example }: { schema: string; example: unknown }): object {
  return { "application/json": { schema: refTo(schema), example } };
}

/** Returns the error responses of an operation, by status. */
function refusals(errors: ErrorCode[]): Record<string, object> {
  const byStatus = Map.groupBy(errors, (code) => ERRORS[code].status);
  return Object.fromEntries(
    [...byStatus].map(([status, codes]) => [
      status,
      {
        description: codes.map((code) => `\`${code}\`: ${ERRORS[code].title}.`).join("\n\n"),
        ...(HEADERS[status] && { headers: HEADERS[status] }),
        content: {
          "application/problem+json": {
            schema: refTo("Problem"),
            examples: Object.fromEntries(codes.map((code) => [code, { value: problemOf({ code, ...FAULTS[code] }) }])),
          },
        },
      },
    ]),
  );
}

const text = { type: "string" };
const LINK = { description: 'The next page, as `rel="next"` (RFC 8288).', schema: text };
const RETRY_AFTER = { description: "Seconds to wait before trying again.", schema: { type: "integer" } };
const HEADERS: Record<number, object> = {
  401: { "WWW-Authenticate": { description: "`Bearer`.", schema: text } },
  426: { Upgrade: { description: "`websocket`.", schema: text } },
  429: { "Retry-After": RETRY_AFTER },
  503: { "Retry-After": RETRY_AFTER },
};

/** The paths that are served as files, without the Worker. */
const DOCUMENTS = {
  "/openapi.json": document("readOpenapi", "This document", "application/json", { type: "object" }),
  "/asyncapi.json": document("readAsyncapi", "The description of the sockets' frames", "application/json", {
    type: "object",
  }),
  "/docs": document("readDocs", "The API reference: a page to read and try this document", "text/html", text),
};

function document(operationId: string, summary: string, type: string, schema: object): object {
  const responses = { 200: { description: summary, content: { [type]: { schema } } } };
  return { get: { operationId, tags: ["The server"], summary, security: [{}], responses } };
}
