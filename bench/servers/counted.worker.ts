/** This project, with counters of what Cloudflare bills: requests to the Worker and the object, and rows written by the object and D1. */
import { Channel as Plain } from "../../src/index.ts";
import type { Env } from "../../src/env.ts";
import type { Counts } from "../counts.ts";
import worker from "./ours.worker.ts";

const counts: Counts = { workerRequests: 0, objectRequests: 0, objectRows: 0, databaseRows: 0 };

export class Channel extends Plain {
  constructor(ctx: DurableObjectState, env: Env) {
    countRows(ctx.storage);
    super(ctx, { ...env, DB: counted(env.DB) });
  }

  override publish(...submissions: Parameters<Plain["publish"]>): ReturnType<Plain["publish"]> {
    counts.objectRequests += 1;
    return super.publish(...submissions);
  }

  override alarm(): Promise<void> {
    counts.objectRequests += 1;
    return super.alarm();
  }
}

export default {
  fetch(request, env, ctx) {
    if (new URL(request.url).pathname === "/counts") return Response.json(counts);
    counts.workerRequests += 1;
    return worker.fetch(request, env, ctx);
  },
} satisfies ExportedHandler<Env>;

/** Each stored value and each alarm that is set count as one written row. */
function countRows(storage: DurableObjectStorage): void {
  const { sql, kv } = storage;
  const [exec, put, setAlarm] = [sql.exec.bind(sql), kv.put.bind(kv), storage.setAlarm.bind(storage)];
  sql.exec = <T extends Record<string, SqlStorageValue>>(query: string, ...bindings: unknown[]) => {
    const cursor = exec<T>(query, ...bindings);
    counts.objectRows += cursor.rowsWritten;
    return cursor;
  };
  kv.put = (key, value) => {
    counts.objectRows += 1;
    put(key, value);
  };
  storage.setAlarm = (time, options) => {
    counts.objectRows += 1;
    return setAlarm(time, options);
  };
}

/** D1 reports for each statement how many rows it wrote. */
function counted<T extends object>(target: T): T {
  return new Proxy(target, {
    get(of, name) {
      const value: unknown = Reflect.get(of, name);
      if (typeof value !== "function") return value;
      return (...parameters: unknown[]) => note((value as (...all: unknown[]) => unknown).apply(of, parameters));
    },
  });
}

function note(result: unknown): unknown {
  if (!(result instanceof Promise)) return typeof result === "object" && result !== null ? counted(result) : result;
  return result.then((answer: { meta?: { rows_written?: number } } | undefined) => {
    counts.databaseRows += answer?.meta?.rows_written ?? 0;
    return answer;
  });
}
