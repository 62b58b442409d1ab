/** Returns 128 random bits as text. `crypto.randomUUID` is missing on pages that were loaded over plain HTTP. */
export const newId = (): string => crypto.getRandomValues(new Uint32Array(4)).join("-");
