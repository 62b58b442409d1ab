/** Finds the mutants of a source, and writes the source with all of them in it, each behind a switch (mutant schemata). */
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
    "++": "--",
    "--": "++",
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
  const edits = editsIn(file, source);
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

/** Returns the source with its mutants in it: the expression `isMutant(id)` decides whether one is on. */
export function withMutants(source: string, edits: readonly Edit[], firstId: number, isMutant: string): string {
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
  return write(0, source.length);
}

interface Context {
  /** Whether the node decides an `if`, a loop or a conditional expression. */
  isTest?: boolean;
  /** Whether it is on the left of a `?.`, or right of it in the same chain. */
  inChain?: boolean;
  parent?: Node | undefined;
  grandparent?: Node | undefined;
}

function editsIn(file: string, source: string): Edit[] {
  const { program, errors } = parseSync(file, source);
  if (errors[0]) throw new Error(`${file}: ${errors[0].message}`);
  const edits: Edit[] = [];
  const textOf = ({ start, end }: Node) => source.slice(start, end);

  function add(node: Node, operator: string, ...texts: string[]): void {
    for (const text of texts) edits.push({ start: node.start, end: node.end, text, operator, isStatement: false });
  }

  function binary(node: Node, isTest: boolean): void {
    const operator = String(node["operator"]);
    const swapped = SWAPPED.get(operator);
    const [left, right] = [child(node, "left"), child(node, "right")];
    if (swapped === undefined || (operator === "+" && (isText(left) || isText(right)))) return;
    const written = (other: string) => `(${textOf(left)}) ${other} (${textOf(right)})`;
    // In a test the forced outcomes say all that a negation could.
    if (isTest && (operator === "===" || operator === "!==")) return;
    add(node, NEGATED.has(operator) ? "boundary" : "operator", written(swapped));
    const negated = NEGATED.get(operator);
    if (!isTest && negated !== undefined) add(node, "negation", written(negated));
  }

  function logical(node: Node): void {
    const operator = String(node["operator"]);
    const [left, right] = [textOf(child(node, "left")), textOf(child(node, "right"))];
    if (operator === "??") add(node, "logical", left);
    else add(node, "logical", `(${left}) ${operator === "&&" ? "||" : "&&"} (${right})`, left, right);
  }

  function literal(node: Node): void {
    const { value } = node;
    if (typeof value === "boolean") add(node, "boolean", String(!value));
    if (typeof value !== "number") return;
    if (value >= LARGE || !Number.isInteger(value)) add(node, "number", `${textOf(node)} * 2`, `${textOf(node)} / 2`);
    else add(node, "number", String(value + 1), ...(value > 0 ? [String(value - 1)] : []));
  }

  function call(node: Node): void {
    const callee = child(node, "callee");
    const property = callee["property"] as Node | undefined;
    if (callee.type !== "MemberExpression" || callee["computed"] === true || !property) return;
    const name = textOf(property);
    const swapped = SWAPPED_METHODS.get(name);
    if (swapped !== undefined) {
      add(
        node,
        "method",
        textOf(node).slice(0, property.start - node.start) + swapped + source.slice(property.end, node.end),
      );
    }
    if (REMOVED_METHODS.has(name)) add(node, "method", textOf(child(callee, "object")));
  }

  /** `a?.b` without its question mark, for each that a chain has. */
  function chain(node: Node): void {
    for (let link: Node | undefined = child(node, "expression"); link; link = linkBefore(link)) {
      if (link["optional"] !== true) continue;
      const before = linkBefore(link) as Node;
      const at = source.indexOf("?.", before.end);
      const isNamed = link.type === "MemberExpression" && link["computed"] !== true;
      add(
        node,
        "optional chaining",
        source.slice(node.start, at) + (isNamed ? "." : "") + source.slice(at + 2, node.end),
      );
    }
  }

  function statement(node: Node): void {
    const expression = child(node, "expression");
    const inner = withoutWrapping(expression);
    if ((inner["callee"] as Node | undefined)?.type === "Super" || isInitialization(inner)) return;
    if (REMOVED_STATEMENTS.has(inner.type))
      edits.push({ ...node, text: "", operator: "removed statement", isStatement: true });
  }

  function visit(node: Node, { isTest = false, inChain = false, parent, grandparent }: Context): void {
    const { type } = node;
    if (isSkipped(node)) return;
    // A part of a chain cannot be put in parentheses: the chain would no longer end where it ends.
    if (!inChain) {
      // A loop that never ends is killed by its time alone, which takes long and says little.
      if (isTest && type !== "Literal") add(node, "condition", ...(isLoop(parent) ? [] : ["true"]), "false");
      if (type === "BinaryExpression") binary(node, isTest);
      if (type === "LogicalExpression") logical(node);
      if (type === "UnaryExpression" && "!-".includes(String(node["operator"]))) {
        if (!isTest) add(node, "operator", textOf(child(node, "argument")));
      }
      if (type === "Literal") literal(node);
      if (type === "CallExpression") call(node);
      if (type === "ChainExpression" && parent?.["operator"] !== "delete") chain(node);
      if (type === "UpdateExpression" && parent?.type !== "ForStatement") {
        const swapped = SWAPPED.get(String(node["operator"]));
        if (swapped !== undefined) add(node, "operator", textOf(node).replace(String(node["operator"]), swapped));
      }
      if (type === "AssignmentExpression" && !isText(child(node, "right"))) {
        const swapped = SWAPPED.get(String(node["operator"]));
        if (swapped !== undefined)
          add(node, "operator", `${textOf(child(node, "left"))} ${swapped} ${textOf(child(node, "right"))}`);
      }
      if (type === "ExpressionStatement" && node["directive"] == null) statement(node);
      if (type === "ReturnStatement" && isEarlyExit(parent, grandparent)) {
        edits.push({ ...node, text: "", operator: "removed return", isStatement: true });
      }
    }
    for (const [key, value] of Object.entries(node)) {
      if (isName(node, key)) continue;
      const isSpine =
        (type === "ChainExpression" && key === "expression") ||
        (inChain && (key === "object" || key === "callee" || key === "expression"));
      const isCondition = key === "test" && type !== "SwitchCase";
      const context = { isTest: isCondition, inChain: isSpine, parent: node, grandparent: parent };
      for (const item of Array.isArray(value) ? value : [value]) if (isNode(item)) visit(item, context);
    }
  }

  visit(program as unknown as Node, {});
  return edits;
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
function isInitialization({ type, left, right }: Node): boolean {
  const target = left as Node | undefined;
  if (type !== "AssignmentExpression" || target?.type !== "MemberExpression") return false;
  const [object, property] = [child(target, "object"), child(target, "property")];
  return (
    object.type === "ThisExpression" &&
    (right as Node).type === "Identifier" &&
    property["name"] === (right as Node)["name"]
  );
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
