/** How a child process that ingests names its database sessions. */
export const ingestingName = 'purser test ingesting';
