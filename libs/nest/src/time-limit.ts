import { SealwireError } from '@sealwire/core';

/**
 * Waits for what a request asks of the store, within a time. If the store is late or fails, it did nothing that the client may
 * count on, so the answer is `busy`: a request never hangs on a database.
 *
 * @param late gets what the store answered after the time was over: keys in it are to be erased
 * @throws SealwireError `busy` after so many milliseconds or if the work fails; a SealwireError of the work as it is
 * @example
 * import { type SessionDirectory, withinTime } from '@sealwire/nest/ports';
 *
 * export async function answers(directory: SessionDirectory): Promise<boolean> {
 *   return withinTime(directory.ping(), 5_000).then(
 *     () => true,
 *     () => false,
 *   );
 * }
 */
export async function withinTime<T>(work: Promise<T>, milliseconds: number, late?: (value: T) => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      if (late) work.then(late, () => undefined);
      reject(new SealwireError('busy'));
    }, milliseconds);
  });
  try {
    return await Promise.race([work, over]);
  } catch (error) {
    if (error instanceof SealwireError) throw error;
    throw new SealwireError('busy', undefined, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** Whether `work`, which never rejects, is done within a time. */
export async function doneWithin(work: Promise<unknown>, milliseconds: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), milliseconds);
  });
  const done = await Promise.race([work.then(() => true), over]);
  clearTimeout(timer);
  return done;
}
