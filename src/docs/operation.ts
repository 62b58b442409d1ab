import * as v from "valibot";
import type { ErrorCode } from "../protocol/errors.ts";
import { ChannelName } from "../protocol/schemas.ts";
import { CHANNEL as EXAMPLE } from "./examples.ts";
import type { HTTP } from "./schemas.ts";

type SchemaName = keyof typeof HTTP;

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  schema: v.GenericSchema;
  description: string;
  example: string | number;
}

interface Content {
  schema: SchemaName;
  example: unknown;
}

/** An operation of the HTTP interface, as openapi.ts puts it into the document. */
export interface Operation {
  id: string;
  method: "get" | "post" | "put" | "delete";
  path: string;
  tag: string;
  summary: string;
  description: string;
  /** `server`: an API key only. `anybody`: whom the channel's settings let. `none`: no credentials are needed. */
  access: "server" | "anybody" | "none";
  parameters: Parameter[];
  body?: Content;
  answer: { status: number; description: string; content?: Content; link?: boolean };
  errors: ErrorCode[];
}

/** May happen wherever somebody asks, and where credentials are looked at. */
export const ASKING: ErrorCode[] = ["unauthorized", "wrong-origin", "wrong-host", "rate-limited"];
/** May happen wherever a body is read. */
export const BODY: ErrorCode[] = [
  "invalid-json",
  "invalid-field",
  "invalid-number",
  "too-deep",
  "too-large",
  "unsupported-media-type",
];
/** May happen wherever a channel is asked. */
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
  description: "Any text; where the variable `REALTIME_CANONICAL` is set, just that.",
  example: "avengers",
};

/** The parameters of a query, each of which must be explained. */
export function query<const E extends v.ObjectEntries>(
  { entries }: v.ObjectSchema<E, undefined>,
  texts: { [K in keyof E]: [description: string, example: string | number] },
): Parameter[] {
  return Object.entries(texts).map(([name, [description, example]]) => {
    const schema = entries[name];
    if (schema === undefined) throw new Error(`there is no parameter ${name}`);
    return { name, in: "query", schema, description, example };
  });
}
