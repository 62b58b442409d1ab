import { type ConversionConfig, type JsonSchema, toJsonSchema, toJsonSchemaDefs } from "@valibot/to-json-schema";
import * as v from "valibot";

/** A schema that has a name in the documents, and what its fields mean. */
export interface Component {
  schema: v.GenericSchema;
  description: string;
  /** By field; a nested one by its path: `options.after`. */
  fields: Record<string, string>;
}

/** @param fields Each field of the schema must be explained; what is nested in it may be. */
export function component<const S extends v.GenericSchema>(
  schema: S,
  description: string,
  fields: v.InferOutput<S> extends Record<string, unknown>
    ? { [K in Extract<keyof v.InferOutput<S>, string>]-?: string } & { [path: `${string}.${string}`]: string }
    : Record<string, never>,
): Component {
  return { schema, description, fields };
}

/** The named schemas as JSON Schema (2020-12, which OpenAPI 3.1 uses), referring to each other by name. */
export function schemasOf(components: Record<string, Component>): Record<string, JsonSchema> {
  const schemas = Object.fromEntries(Object.entries(components).map(([name, { schema }]) => [name, schema]));
  const converted = toJsonSchemaDefs(schemas, CONVERSION);
  for (const [name, { description, fields }] of Object.entries(components)) {
    const schema = converted[name];
    if (schema === undefined) throw new Error(`${name} was not converted`);
    schema.description = description;
    for (const [path, text] of Object.entries(fields)) fieldOf(schema, path, name).description = text;
  }
  return converted;
}

/** One schema without a name, such as a parameter's. */
export function inlineSchema(schema: v.GenericSchema): JsonSchema {
  const { $schema: _, ...converted } = toJsonSchema(schema, CONVERSION);
  // What comes as text, and is a number, has its default as text as well.
  if (converted.type === "integer" && typeof converted.default === "string") {
    converted.default = Number(converted.default);
  }
  return converted;
}

export const refTo = (name: string) => ({ $ref: `#/components/schemas/${name}` });

/**
 * What JSON Schema cannot say is left out: a check of our own, with its words in a description. A query's number, which comes as
 * text, is written as the number that it stands for; any other value as it comes.
 */
const CONVERSION: ConversionConfig = {
  target: "draft-2020-12",
  typeMode: "output",
  ignoreActions: ["check", "partial_check"],
  overrideSchema: ({ valibotSchema }) => (valibotSchema.type === "custom" ? { type: "object" } : undefined),
  overrideAction: ({ valibotAction, jsonSchema }) => {
    if (valibotAction.type !== "transform") return undefined;
    return "operation" in valibotAction && valibotAction.operation === Number
      ? { type: "integer", minimum: 0 }
      : jsonSchema;
  },
  overrideRef: ({ referenceId }) => refTo(referenceId).$ref,
};

function fieldOf(schema: JsonSchema, path: string, name: string): JsonSchema {
  let field = schema;
  for (const key of path.split(".")) {
    const next = field.properties?.[key];
    if (typeof next !== "object") throw new Error(`${name} has no field ${path}`);
    field = next;
  }
  return field;
}
