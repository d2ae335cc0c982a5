import { type Command, UsageError } from './command.js';
import { withStore } from './store.js';

export const purge: Command = {
  usage: ['purge'],
  summary: 'Deletes what is over and past its time of remembrance. Running servers do so every minute.',
  options: {},
  run(invocation) {
    if (invocation.words.length > 0) throw new UsageError('purge takes nothing more.');
    return withStore(invocation, async ({ sessions }) => {
      const deleted = await sessions.purge();
      return { text: `${deleted} ${deleted === 1 ? 'row' : 'rows'} deleted`, value: { deleted } };
    });
  },
};
