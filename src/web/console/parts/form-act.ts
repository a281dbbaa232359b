/** Runs an operator's act for a form. */
import { PurserError } from '../../../errors.ts';

const statuses: Readonly<Record<string, number>> = { usage: 400, unknown_schedule: 404 };

/** Errors that other doors answer with an exit code have a status here: a wrong value is the fault of who sent it. */
export async function formAct<T>(run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof PurserError) || error.status !== undefined) throw error;
    const { code, message, details } = error;
    const status = statuses[code];
    if (status === undefined) throw error;
    throw new PurserError(code, message, { cause: error, details, status });
  }
}
