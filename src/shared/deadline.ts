/** Thrown where an answer did not come in time. */
export class DeadlineError extends Error {
  override name = "DeadlineError";
}

/**
 * Gives up waiting for an answer after so many milliseconds. What was asked for may still happen: only repeat what is
 * harmless to repeat. D1 itself sets no bound on how long a query may be under way from here.
 */
export async function withDeadline<T>(milliseconds: number, answer: Promise<T>): Promise<T> {
  let timer: number | null = null;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DeadlineError(`no answer within ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([answer, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
