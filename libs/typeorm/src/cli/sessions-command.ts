import type { SessionSummary } from '@sealwire/nest/ports';
import { type Command, hexadecimal, takesOnly, textOption, UsageError } from './command.js';
import { SELECTOR_OPTIONS, selectorOf } from './selector.js';
import { withStore } from './store.js';

export const sessions: Command = {
  usage: [
    'sessions list [--key <keyId> | --module <module>] [--limit <n>] [--after <id>]',
    'sessions count [--key <keyId> | --module <module>]',
  ],
  summary: 'Lists the live sessions in the order of their ids, 100 at a time, or counts them.',
  options: { ...SELECTOR_OPTIONS, limit: { type: 'string' }, after: { type: 'string' } },
  run(invocation) {
    const [verb, ...rest] = invocation.words;
    if (rest.length > 0 || (verb !== 'list' && verb !== 'count')) throw new UsageError('Say list or count.');
    if (verb === 'count') takesOnly(invocation, ...Object.keys(SELECTOR_OPTIONS));
    const selector = selectorOf(invocation) ?? { all: true };
    const limit = Number(textOption(invocation, 'limit') ?? 100);
    if (!Number.isInteger(limit) || limit < 1 || limit > 10_000)
      throw new UsageError('--limit is a number from 1 to 10000.');
    const after = hexadecimal(textOption(invocation, 'after') ?? '0'.repeat(32), 16, 'The id of a session');
    return withStore(invocation, async (store) => {
      if (verb === 'count') {
        const count = await store.directory.count(selector);
        return { text: String(count), value: { count } };
      }
      const listed = await store.directory.list(selector, { limit, after });
      return { text: listed.map(line).join('\n') || 'no sessions', value: listed };
    });
  },
};

function line({ id, module, keyId, lastUsed, expires, peer }: SessionSummary): string {
  const key = keyId ? `SecureKey ${keyId}` : 'no SecureKey';
  const times = `used ${lastUsed.toISOString()}  until ${expires.toISOString()}`;
  return `${id}  ${module}  ${key}  ${times}${peer ? `  ${peer}` : ''}`;
}
