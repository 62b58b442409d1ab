/** The counts of what Cloudflare bills. */
export interface Counts {
  workerRequests: number;
  objectRequests: number;
  objectRows: number;
  databaseRows: number;
}
