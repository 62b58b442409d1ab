/** Calls a function for each number from 0 to `count` - 1, with `workers` calls at the same time. */
export async function atOnce(workers: number, count: number, act: (n: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let n = next++; n < count; n = next++) await act(n);
  };
  await Promise.all(Array.from({ length: workers }, worker));
}
