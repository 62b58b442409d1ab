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
