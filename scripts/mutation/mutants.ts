/** Finds the mutants of a source, and writes the source with all of them in it, each enabled by a switch (mutant schemata). */
import { createHash } from "node:crypto";
import { parseSync } from "vite";

/** One small change of a source. */
export interface Mutant {
  /** Unique among all mutants of one run; depends on nothing but the sources. */
  id: number;
  /** Depends on the code around the mutant but not on its line, so that it survives changes elsewhere in the file. */
  hash: string;
  file: string;
  line: number;
  column: number;
  operator: string;
  /** The code before and after, shortened to one line. */
  original: string;
  replacement: string;
}

/** A constant of a module, `const NAME = expression`, which can be computed again. */
interface Constant {
  name: string;
  /** Where the keyword `const` begins, and where the expression begins and ends. */
  keyword: number;
  start: number;
  end: number;
}

/** A mutant in its source: the expression or statement from `start` to `end` becomes `text`. */
interface Edit {
  start: number;
  end: number;
  text: string;
  operator: string;
  isStatement: boolean;
}

/** The nodes of a syntax tree, as loosely as they are walked here. */
type Node = { type: string; start: number; end: number } & Record<string, unknown>;

/** Constants of this size and more are limits and times: one more or less changes nothing that a test could see. */
const LARGE = 1_000;
const MAX_SHOWN = 90;

const SWAPPED = new Map(
  Object.entries({
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "===": "!==",
    "!==": "===",
    "+": "-",
    "-": "+",
    "*": "/",
    "/": "*",
    "%": "*",
    "**": "*",
    "+=": "-=",
    "-=": "+=",
    "*=": "/=",
  }),
);
const NEGATED = new Map(Object.entries({ "<": ">=", "<=": ">", ">": "<=", ">=": "<" }));
const SWAPPED_METHODS = new Map(
  Object.entries({
    some: "every",
    every: "some",
    min: "max",
    max: "min",
    startsWith: "endsWith",
    endsWith: "startsWith",
    floor: "ceil",
    ceil: "floor",
  }),
);
const REMOVED_METHODS = new Set(["slice", "filter", "toReversed", "toSorted", "trim", "toLowerCase", "toUpperCase"]);
/** Properties whose texts are for people. */
const MESSAGE_PROPERTIES = new Set(["detail", "title", "description", "message"]);
const REMOVED_STATEMENTS = new Set(["CallExpression", "YieldExpression", "AssignmentExpression", "UpdateExpression"]);
const TYPED_EXPRESSIONS = new Set(["TSAsExpression", "TSNonNullExpression", "TSSatisfiesExpression"]);

/** Returns the mutants of a source in the order of the text. Throws where the source cannot be parsed. */
export function mutantsIn(file: string, source: string, firstId: number): { mutants: Mutant[]; edits: Edit[] } {
  const program = programOf(file, source);
  const edits = editsIn(program, source);
  const seen = new Map<string, number>();
  const mutants = edits.map(({ start, end, text, operator }, index) => {
    const before = source.slice(0, start);
    const line = before.split("\n").length;
    const original = shorten(source.slice(start, end));
    const lineStart = before.lastIndexOf("\n") + 1;
    const lineEnd = source.indexOf("\n", start);
    const identity = [file, source.slice(lineStart, lineEnd).trim(), operator, original, text].join("\0");
    const count = seen.get(identity) ?? 0;
    seen.set(identity, count + 1);
    return {
      id: firstId + index,
      hash: createHash("sha256").update(`${identity}\0${count}`).digest("hex"),
      file,
      line,
      column: start - lineStart + 1,
      operator,
      original,
      replacement: text === "" ? "(removed)" : shorten(text),
    };
  });
  return { mutants, edits };
}

/**
 * Returns the source with its mutants in it. `globalThis.isMutant(id)` decides whether one is on. Constants of the module become
 * variables, and `globalThis.constants` gets a function that computes them again.
 */
export function withMutants(file: string, source: string, edits: readonly Edit[], firstId: number): string {
  const isMutant = "globalThis.isMutant";
  const all = edits.map((edit, index) => ({ ...edit, id: firstId + index }));
  // The outer edits first, so that each range is written around the ranges within it.
  const ranges = Map.groupBy(all, ({ start, end }) => `${start}:${end}`);
  const order = [...ranges.values()].toSorted(([a], [b]) => (a && b ? a.start - b.start || b.end - a.end : 0));
  let next = 0;

  function write(from: number, to: number): string {
    let text = "";
    let at = from;
    for (let group = order[next]; group?.[0] && group[0].start < to; group = order[next]) {
      const [{ start, end, isStatement }] = group as [(typeof all)[0]];
      next += 1;
      text += source.slice(at, start);
      const inner = write(start, end);
      const tests = group.map((edit) => `${isMutant}(${edit.id})`);
      // In braces, so that an `else` that follows stays with the `if` before.
      if (isStatement) text += `{ if (!(${tests.join("||")})) { ${inner} } }`;
      else text += `(${group.map((edit, index) => `${tests[index]}?(${edit.text}):`).join("")}(${inner}))`;
      at = end;
    }
    return text + source.slice(at, to);
  }
  const constants = constantsIn(programOf(file, source));
  let text = "";
  let at = 0;
  const assignments: string[] = [];
  for (const { name, keyword, start, end } of constants) {
    text += `${write(at, keyword)}let  ${source.slice(keyword + "const".length, start)}`;
    const expression = write(start, end);
    text += expression;
    assignments.push(`${name} = ${expression};`);
    at = end;
  }
  text += write(at, source.length);
  return `${text}\n(globalThis.constants ??= []).push(() => { ${assignments.join(" ")} });\n`;
}

/** Returns the constants of a module whose computation has no effect and keeps no state, in the order of the text. */
function constantsIn(program: Node): Constant[] {
  const constants: Constant[] = [];
  for (const statement of program["body"] as Node[]) {
    const declaration = statement.type === "ExportNamedDeclaration" ? (statement["declaration"] as Node) : statement;
    if (declaration?.type !== "VariableDeclaration" || declaration["kind"] !== "const") continue;
    const [only, ...others] = declaration["declarations"] as Node[];
    if (!only || others.length > 0) continue;
    const [id, value] = [child(only, "id"), child(only, "init")];
    if (id.type !== "Identifier" || !isRepeatable(value)) continue;
    constants.push({ name: String(id["name"]), keyword: declaration.start, start: value.start, end: value.end });
  }
  return constants;
}

/** Whether an expression can be computed again: it consists of literals, functions, and calls of functions that keep no state. */
function isRepeatable(node: Node): boolean {
  const areRepeatable = (key: string) => (node[key] as Node[]).every(isRepeatable);
  switch (node.type) {
    case "Identifier":
    case "Literal":
    case "ArrowFunctionExpression":
      return true;
    case "BinaryExpression":
      return isRepeatable(child(node, "left")) && isRepeatable(child(node, "right"));
    case "UnaryExpression":
    case "SpreadElement":
      return isRepeatable(child(node, "argument"));
    case "MemberExpression":
      return node["computed"] !== true && child(node, "object").type === "Identifier";
    case "TemplateLiteral":
      return areRepeatable("expressions");
    case "ArrayExpression":
      return areRepeatable("elements");
    case "ObjectExpression":
      return areRepeatable("properties");
    case "Property":
      return node["computed"] !== true && isRepeatable(child(node, "value"));
    case "CallExpression":
      return isRepeatable(child(node, "callee")) && areRepeatable("arguments");
    case "NewExpression":
      return ["RegExp", "Set"].includes(String(child(node, "callee")["name"])) && areRepeatable("arguments");
    default:
      return TYPED_EXPRESSIONS.has(node.type) && isRepeatable(child(node, "expression"));
  }
}

/** Where a node is. */
interface Context {
  /** Whether it decides an `if`, a loop or a conditional expression. */
  isTest: boolean;
  /** Whether it is a link of a chain with `?.`. Parentheses around a link would end the chain too early. */
  isLink: boolean;
  parent: Node | undefined;
  grandparent: Node | undefined;
}

const AT_ROOT: Context = { isTest: false, isLink: false, parent: undefined, grandparent: undefined };

function programOf(file: string, source: string): Node {
  const { program, errors } = parseSync(file, source);
  if (errors[0]) throw new Error(`${file}: ${errors[0].message}`);
  return program as unknown as Node;
}

function editsIn(program: Node, source: string): Edit[] {
  const finder = new EditFinder(source);
  finder.visit(program, AT_ROOT);
  return finder.edits;
}

class EditFinder {
  readonly edits: Edit[] = [];
  readonly #source: string;

  constructor(source: string) {
    this.#source = source;
  }

  visit(node: Node, context: Context): void {
    if (isSkipped(node)) return;
    if (!context.isLink) this.#mutate(node, context);
    for (const [key, value] of Object.entries(node)) {
      if (isName(node, key)) continue;
      const inner = {
        isTest: key === "test" && node.type !== "SwitchCase",
        isLink: isLinkOf(node, key, context.isLink),
        parent: node,
        grandparent: context.parent,
      };
      for (const item of Array.isArray(value) ? value : [value]) if (isNode(item)) this.visit(item, inner);
    }
  }

  #mutate(node: Node, { isTest, parent, grandparent }: Context): void {
    if (isTest && node.type !== "Literal") this.#force(node, parent);
    switch (node.type) {
      case "BinaryExpression":
        return this.#mutateBinary(node, isTest);
      case "LogicalExpression":
        return this.#mutateLogical(node);
      case "UnaryExpression":
        return this.#mutateUnary(node, isTest);
      case "UpdateExpression":
        return this.#mutateUpdate(node, parent);
      case "AssignmentExpression":
        return this.#mutateAssignment(node);
      case "Literal":
        return this.#mutateLiteral(node);
      case "CallExpression":
        return this.#mutateCall(node);
      case "ChainExpression":
        if (parent?.["operator"] !== "delete") this.#mutateChain(node);
        return;
      case "ExpressionStatement":
        if (isRemovable(child(node, "expression"))) this.#remove(node, "removed statement");
        return;
      case "ReturnStatement":
        if (isEarlyExit(parent, grandparent)) this.#remove(node, "removed return");
        return;
    }
  }

  #textOf({ start, end }: Node): string {
    return this.#source.slice(start, end);
  }

  #replace({ start, end }: Node, operator: string, ...texts: string[]): void {
    for (const text of texts) this.edits.push({ start, end, text, operator, isStatement: false });
  }

  #remove({ start, end }: Node, operator: string): void {
    this.edits.push({ start, end, text: "", operator, isStatement: true });
  }

  /** A loop is not forced to go on: one that never ends is killed by its time alone, which takes long and says little. */
  #force(node: Node, parent: Node | undefined): void {
    this.#replace(node, "condition", ...(isLoop(parent) ? [] : ["true"]), "false");
  }

  #mutateBinary(node: Node, isTest: boolean): void {
    const operator = String(node["operator"]);
    const swapped = SWAPPED.get(operator);
    const [left, right] = [child(node, "left"), child(node, "right")];
    if (swapped === undefined || (operator === "+" && (isText(left) || isText(right)))) return;
    const written = (other: string) => `(${this.#textOf(left)}) ${other} (${this.#textOf(right)})`;
    // In a test the forced outcomes say all that a negation could.
    if (isTest && (operator === "===" || operator === "!==")) return;
    this.#replace(node, NEGATED.has(operator) ? "boundary" : "operator", written(swapped));
    const negated = NEGATED.get(operator);
    if (!isTest && negated !== undefined) this.#replace(node, "negation", written(negated));
  }

  #mutateLogical(node: Node): void {
    const operator = String(node["operator"]);
    const [left, right] = [this.#textOf(child(node, "left")), this.#textOf(child(node, "right"))];
    if (operator === "??") return this.#replace(node, "logical", left);
    this.#replace(node, "logical", `(${left}) ${operator === "&&" ? "||" : "&&"} (${right})`, left, right);
  }

  #mutateUnary(node: Node, isTest: boolean): void {
    const isMutable = node["operator"] === "!" || node["operator"] === "-";
    if (isMutable && !isTest) this.#replace(node, "operator", this.#textOf(child(node, "argument")));
  }

  #mutateUpdate(node: Node, parent: Node | undefined): void {
    const operator = String(node["operator"]);
    if (parent?.type === "ForStatement") return;
    this.#replace(node, "operator", this.#textOf(node).replace(operator, operator === "++" ? "--" : "++"));
  }

  #mutateAssignment(node: Node): void {
    const [left, right] = [child(node, "left"), child(node, "right")];
    const swapped = SWAPPED.get(String(node["operator"]));
    if (swapped === undefined || isText(right)) return;
    this.#replace(node, "operator", `${this.#textOf(left)} ${swapped} ${this.#textOf(right)}`);
  }

  #mutateLiteral(node: Node): void {
    const { value } = node;
    const text = this.#textOf(node);
    if (typeof value === "boolean") this.#replace(node, "boolean", String(!value));
    if (typeof value !== "number") return;
    if (value >= LARGE || !Number.isInteger(value)) this.#replace(node, "number", `${text} * 2`, `${text} / 2`);
    else this.#replace(node, "number", String(value + 1), ...(value > 0 ? [String(value - 1)] : []));
  }

  #mutateCall(node: Node): void {
    const callee = child(node, "callee");
    if (callee.type !== "MemberExpression" || callee["computed"] === true) return;
    const property = child(callee, "property");
    const name = this.#textOf(property);
    const swapped = SWAPPED_METHODS.get(name);
    if (swapped !== undefined) {
      const [before, after] = [node.start, property.end];
      const object = this.#source.slice(before, property.start);
      this.#replace(node, "method", object + swapped + this.#source.slice(after, node.end));
    }
    if (REMOVED_METHODS.has(name)) this.#replace(node, "method", this.#textOf(child(callee, "object")));
  }

  /** Takes `a?.b` for `a.b`: once for each `?.` of a chain. */
  #mutateChain(node: Node): void {
    for (let link: Node | undefined = child(node, "expression"); link; link = linkBefore(link)) {
      const before = linkBefore(link);
      if (link["optional"] !== true || !before) continue;
      const at = this.#source.indexOf("?.", before.end);
      const dot = link.type === "MemberExpression" && link["computed"] !== true ? "." : "";
      const [head, tail] = [this.#source.slice(node.start, at), this.#source.slice(at + 2, node.end)];
      this.#replace(node, "optional chaining", head + dot + tail);
    }
  }
}

function isNode(value: unknown): value is Node {
  return typeof value === "object" && value !== null && "type" in value && "start" in value;
}

const child = (node: Node, key: string) => node[key] as Node;

/** What a link of a chain is attached to; undefined at its start. */
function linkBefore(link: Node): Node | undefined {
  return (link["object"] ??
    link["callee"] ??
    (link.type === "TSNonNullExpression" ? link["expression"] : undefined)) as Node | undefined;
}

/** Whether a part of a node is a link of a chain. */
function isLinkOf({ type }: Node, key: string, isLink: boolean): boolean {
  if (type === "ChainExpression") return key === "expression";
  return isLink && (key === "object" || key === "callee" || key === "expression");
}

/** Whether a statement of this expression can be left out. */
function isRemovable(expression: Node): boolean {
  const inner = withoutWrapping(expression);
  const isSuper = (inner["callee"] as Node | undefined)?.type === "Super";
  return REMOVED_STATEMENTS.has(inner.type) && !isSuper && !isInitialization(inner);
}

/** The call or assignment that a statement consists of, without `await`, `void` and the like around it. */
function withoutWrapping(node: Node): Node {
  const isWrapping =
    node.type === "AwaitExpression" ||
    node.type === "ChainExpression" ||
    node["operator"] === "void" ||
    TYPED_EXPRESSIONS.has(node.type);
  return isWrapping ? withoutWrapping((node["argument"] ?? node["expression"]) as Node) : node;
}

function isText(node: Node): boolean {
  return (
    node.type === "TemplateLiteral" ||
    typeof node["value"] === "string" ||
    (node["operator"] === "+" && (isText(child(node, "left")) || isText(child(node, "right"))))
  );
}

function isLoop(node: Node | undefined): boolean {
  return node?.type === "WhileStatement" || node?.type === "ForStatement" || node?.type === "DoWhileStatement";
}

/** Whether this is `this.x = x`, as constructors do: without it nothing works, which needs no test to show it. */
function isInitialization(node: Node): boolean {
  if (node.type !== "AssignmentExpression" || child(node, "left").type !== "MemberExpression") return false;
  const [target, value] = [child(node, "left"), child(node, "right")];
  const isOwn = child(target, "object").type === "ThisExpression";
  return isOwn && value.type === "Identifier" && child(target, "property")["name"] === value["name"];
}

/** Whether a return within these ends its function early. A guard that does nothing else is left to its condition. */
function isEarlyExit(block: Node | undefined, owner: Node | undefined): boolean {
  if (block?.type !== "BlockStatement" || owner?.type.includes("Function") !== false) return false;
  return owner.type !== "IfStatement" || (block["body"] as Node[]).length > 1;
}

/** Types, imports, and what is only there to be read by people. */
function isSkipped(node: Node): boolean {
  if (node.type.startsWith("TS")) return !TYPED_EXPRESSIONS.has(node.type);
  if (node.type === "ImportDeclaration" || node["exportKind"] === "type") return true;
  if (node.type === "NewExpression") return String(child(node, "callee")["name"]).endsWith("Error");
  if (node.type === "CallExpression") return /^log[A-Z]/.test(String(child(node, "callee")["name"]));
  return (
    node.type === "Property" &&
    MESSAGE_PROPERTIES.has(String(child(node, "key")["name"])) &&
    isText(child(node, "value"))
  );
}

/** Whether this part of a node is the name of a property, which is no expression. */
function isName(node: Node, key: string): boolean {
  return (key === "key" || key === "property") && node["computed"] !== true;
}

function shorten(code: string): string {
  const line = code.replaceAll(/\s+/g, " ");
  return line.length > MAX_SHOWN ? `${line.slice(0, MAX_SHOWN)}…` : line;
}
