import { type Command, type Invocation, textOption, UsageError } from './command.js';
import { withStore } from './store.js';

export const purge: Command = {
  usage: ['purge --tombstone-seconds <n> --outcome-seconds <n>'],
  summary: [
    'Deletes what is over and past its time of remembrance. Running servers do so every minute. The times are those of the',
    "servers' typeOrmStore(): an outcome deleted sooner could let its call run twice.",
  ].join('\n'),
  options: { 'tombstone-seconds': { type: 'string' }, 'outcome-seconds': { type: 'string' } },
  run(invocation) {
    if (invocation.words.length > 0) throw new UsageError('purge takes nothing more.');
    const times = {
      tombstoneSeconds: seconds(invocation, 'tombstone-seconds'),
      outcomeSeconds: seconds(invocation, 'outcome-seconds'),
    };
    return withStore(
      invocation,
      async ({ directory }) => {
        const deleted = await directory.purge();
        return { text: `${deleted} ${deleted === 1 ? 'row' : 'rows'} deleted`, value: { deleted } };
      },
      times,
    );
  },
};

function seconds(invocation: Invocation, name: string): number {
  const text = textOption(invocation, name) ?? '';
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`--${name} is how long the servers keep them, in seconds.`);
  return Number(text);
}
