import * as v from "valibot";
import { type ErrorCode, ERRORS, problemType } from "../protocol/errors.ts";
import { AUTHENTICATING, type Operation } from "./operation.ts";
import { publishing, reading, sockets } from "./operations-clients.ts";
import { databases, settings } from "./operations-server.ts";

const about: Operation[] = [
  {
    id: "health",
    method: "get",
    path: "/health",
    tag: "The server",
    summary: "Check the server's health",
    description: "Succeeds if the Worker runs, and D1 answers within two seconds and has its tables.",
    access: "none",
    parameters: [],
    answer: {
      status: 200,
      description: "The server is healthy.",
      content: { schema: "Health", example: { status: "ok" } },
    },
    errors: [...AUTHENTICATING, "unavailable"],
  },
  {
    id: "explainProblem",
    method: "get",
    path: "/problems/{code}",
    tag: "The server",
    summary: "Explain a problem",
    description: "Explains an error code. The path is the `type` of a problem.",
    access: "none",
    parameters: [
      {
        name: "code",
        in: "path",
        schema: v.picklist(Object.keys(ERRORS)),
        description: "The error code, which is the end of a problem's `type`.",
        example: "backlog-full",
      },
    ],
    answer: {
      status: 200,
      description: "The explanation.",
      content: {
        schema: "ProblemType",
        example: problemType("backlog-full"),
      },
    },
    errors: ["not-found", "wrong-origin", "wrong-host", "rate-limited"],
  },
];

/** The error of requests to a known path with a method that it does not support. */
export const OTHER_ERRORS: ErrorCode[] = ["method-not-allowed"];

/** All operations of the HTTP interface, in the order of the document. */
export const OPERATIONS: Operation[] = [...publishing, ...reading, ...sockets, ...settings, ...databases, ...about];
