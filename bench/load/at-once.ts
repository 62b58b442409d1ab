/** Does something for each number from 0 on: so many at once, each next one when one before it is done. */
export async function atOnce(workers: number, count: number, act: (n: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    for (let n = next++; n < count; n = next++) await act(n);
  };
  await Promise.all(Array.from({ length: workers }, worker));
}
