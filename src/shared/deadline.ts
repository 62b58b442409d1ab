/** Thrown if a result did not arrive in time. */
export class DeadlineError extends Error {
  override name = "DeadlineError";
}

/**
 * Returns a promise's result, or throws a `DeadlineError` if it takes longer than this. The work itself goes on, so its
 * effect may still happen: repeat only work that is harmless to repeat. D1 itself has no time limit for a query.
 */
export async function withDeadline<T>(milliseconds: number, work: Promise<T>): Promise<T> {
  let timer: number | null = null;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DeadlineError(`no answer within ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
