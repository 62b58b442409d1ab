declare namespace Cloudflare {
  interface Env extends ProjectEnv {
    /** JSON: hostile input, from npm. */
    CORPORA: string;
    MIGRATIONS: import("cloudflare:test").D1Migration[];
  }
  interface GlobalProps {
    mainModule: typeof import("../../src/index.ts");
  }
}
type ProjectEnv = import("../../src/env.ts").Env;

declare module "*?raw" {
  const text: string;
  export default text;
}

/** What the simulation uses of Node's module, which the Workers runtime has, too. */
declare module "node:async_hooks" {
  export class AsyncLocalStorage<T> {
    getStore(): T | undefined;
    run<R>(store: T, callback: () => R): R;
  }
}
