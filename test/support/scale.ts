declare const __LONG__: boolean;

/** `npm run test:faults` runs the fault tests at length, `npm test` the same ones in short. */
const long = __LONG__;

/** Scripts of the model test. */
export const MODEL_RUNS = long ? 1_000 : 40;

/** How often the server is killed. */
export const KILLS = long ? 25 : 2;

/** Clients that come back at once to a server that was killed. */
export const STORM = long ? 1_000 : 100;
