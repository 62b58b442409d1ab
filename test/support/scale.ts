declare const __LONG__: boolean;
declare const __SEEDS__: number[];

/** `npm run test:faults` runs the fault tests at length, `npm test` the same ones in short. */
const long = __LONG__;

/** The first and the last seed of the simulation's schedules: those that `SEED` names. `npm run simulate` runs many more. */
const [first = 1, last = __SEEDS__[0] ?? 50] = __SEEDS__;
export const SEEDS = { first, last };

/** How often the server is killed. */
export const KILLS = long ? 25 : 2;

/** How often it is killed while clients send over sockets. */
export const KILLS_WHILE_SENDING = long ? 25 : 1;

/** How many clients reconnect at once to a server that was killed. */
export const STORM = long ? 1_000 : 100;

/** How many combinations of settings the authorization matrix tries: all, or a sample. */
export const COMBINATIONS = { active: long ? 512 : 8, inactive: long ? 512 : 1 };

/** How many arrangements of settings above a channel are tried: all, or a sample. */
export const ARRANGED = long ? 324 : 24;
