import { SealwireError } from '@sealwire/core';

/**
 * What a request asks of the store, within a time. Late or failed, the store did nothing that the client may count on, so
 * the answer is `busy`: a request never hangs on a database.
 */
export async function withinTime<T>(work: Promise<T>, milliseconds: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new SealwireError('busy')), milliseconds);
  });
  try {
    return await Promise.race([work, late]);
  } catch (error) {
    if (error instanceof SealwireError) throw error;
    throw new SealwireError('busy', undefined, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}
