/** Ids of jobs as text: a `bigint` of Postgres does not fit into a number of JavaScript. */

export const maxJobId = 9_223_372_036_854_775_807n;

/** True for a whole number from 1 to the largest `bigint`, without leading zeros. */
export const isJobId = (text: string): boolean =>
  /^[1-9]\d{0,18}$/.test(text) && BigInt(text) <= maxJobId;
