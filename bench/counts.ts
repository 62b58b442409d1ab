/** What is billed by number. */
export interface Counts {
  workerRequests: number;
  objectRequests: number;
  objectRows: number;
  databaseRows: number;
}
