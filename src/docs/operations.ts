import * as v from "valibot";
import { type ErrorCode, ERRORS, problemType } from "../protocol/errors.ts";
import { ASKING, type Operation } from "./operation.ts";
import { publishing, reading, sockets } from "./operations-clients.ts";
import { databases, settings } from "./operations-server.ts";

const about: Operation[] = [
  {
    id: "health",
    method: "get",
    path: "/health",
    tag: "The server",
    summary: "Whether the server is well",
    description: "Whether the Worker runs, and D1 answers within two seconds and has its tables.",
    access: "none",
    parameters: [],
    answer: { status: 200, description: "It is.", content: { schema: "Health", example: { status: "ok" } } },
    errors: [...ASKING, "unavailable"],
  },
  {
    id: "explainProblem",
    method: "get",
    path: "/problems/{code}",
    tag: "The server",
    summary: "What a problem means",
    description: "The address that is the `type` of a problem.",
    access: "none",
    parameters: [
      {
        name: "code",
        in: "path",
        schema: v.picklist(Object.keys(ERRORS)),
        description: "The end of a problem's `type`.",
        example: "backlog-full",
      },
    ],
    answer: {
      status: 200,
      description: "The problem.",
      content: {
        schema: "ProblemType",
        example: problemType("backlog-full"),
      },
    },
    errors: ["not-found", "wrong-origin", "wrong-host", "rate-limited"],
  },
];

/** The errors of requests that are no operation: for the path there is one, but not with this method. */
export const OTHER_ERRORS: ErrorCode[] = ["method-not-allowed"];

/** Every operation of the HTTP interface, as readers meet them. */
export const OPERATIONS: Operation[] = [...publishing, ...reading, ...sockets, ...settings, ...databases, ...about];
