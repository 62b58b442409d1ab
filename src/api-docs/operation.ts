import * as v from "valibot";
import type { ErrorCode } from "../protocol/errors.ts";
import { ChannelName } from "../protocol/values.ts";
import { CHANNEL as EXAMPLE } from "./examples.ts";
import type { HTTP } from "./schemas.ts";

type SchemaName = keyof typeof HTTP;

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  schema: v.GenericSchema;
  description: string;
  /** The API reference sends this value unless the reader changes it. */
  example?: string | number;
}

interface Content {
  schema: SchemaName;
  example: unknown;
}

export interface Answer {
  status: number;
  description: string;
  content?: Content;
  link?: boolean;
}

/** An operation of the HTTP interface, as openapi.ts puts it into the document. */
export interface Operation {
  id: string;
  method: "get" | "post" | "put" | "delete";
  path: string;
  tag: string;
  summary: string;
  description: string;
  /** `server`: needs an API key. `anybody`: the channel's settings decide. `none`: needs no credentials. */
  access: "server" | "anybody" | "none";
  parameters: Parameter[];
  body?: Content;
  answer: Answer;
  /** Another answer that is no error. */
  otherAnswer?: Answer;
  errors: ErrorCode[];
}

/** The errors of every request whose credentials are checked. */
export const AUTHENTICATING: ErrorCode[] = ["unauthorized", "wrong-origin", "wrong-host", "rate-limited"];
/** The errors of every request with a body. */
export const BODY: ErrorCode[] = [
  "invalid-json",
  "invalid-field",
  "invalid-number",
  "too-deep",
  "too-large",
  "unsupported-media-type",
];
/** The errors of every request that reaches a channel object. */
export const CHANNEL: ErrorCode[] = ["unavailable", "internal"];

export const channel: Parameter = {
  name: "channel",
  in: "path",
  schema: ChannelName,
  description: "The channel's name, percent-encoded as one segment.",
  example: EXAMPLE,
};
export const canonical: Parameter = {
  name: "canonical",
  in: "path",
  schema: v.string(),
  description: "Any text. If the variable `REALTIME_CANONICAL` is set, it must be that text.",
  example: "avengers",
};

/** Returns the parameters of a query, each of which must be described. */
export function query<const E extends v.ObjectEntries>(
  { entries }: v.ObjectSchema<E, undefined>,
  texts: { [K in keyof E]: [description: string, example?: string | number] },
): Parameter[] {
  return Object.entries(texts).map(([name, [description, example]]) => {
    const schema = entries[name];
    if (schema === undefined) throw new Error(`there is no parameter ${name}`);
    const parameter: Parameter = { name, in: "query", schema, description };
    return example === undefined ? parameter : Object.assign(parameter, { example });
  });
}
