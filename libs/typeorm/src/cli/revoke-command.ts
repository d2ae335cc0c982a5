import { fromHex } from '@sealwire/core';
import { type Command, hexadecimal, UsageError } from './command.js';
import { SELECTOR_OPTIONS, selectorOf } from './selector.js';
import { withStore } from './store.js';

/** milliseconds: instances look once a second */
const PATIENCE = 3_000;

export const revoke: Command = {
  usage: ['revoke <session id>', 'revoke --key <keyId>', 'revoke --module <module>', 'revoke --all'],
  summary: 'Ends sessions and waits until every running server knows. --key also refuses that SecureKey from now on.',
  options: { ...SELECTOR_OPTIONS, all: { type: 'boolean' } },
  run(invocation) {
    const [id, ...rest] = invocation.words;
    const named = selectorOf(invocation);
    const chosen = [
      ...(id === undefined ? [] : [{ id: fromHex(hexadecimal(id, 16, 'The id of a session')) }]),
      ...(named ? [named] : []),
      ...(invocation.options.all ? [{ all: true } as const] : []),
    ];
    const [selector] = chosen;
    if (rest.length > 0 || chosen.length !== 1 || !selector) {
      throw new UsageError('Say which sessions: one id, --key, --module or --all.');
    }
    return withStore(invocation, async ({ sessions, directory, keys }) => {
      const refused = 'keyId' in selector && (await keys.revokeSecureKey(selector.keyId));
      const ended = await directory.end(selector, 'keyId' in selector ? 'secure_key_revoked' : 'revoked');
      const everywhere = (ended === 0 && !refused) || (await sessions.settled(PATIENCE));
      const key = refused
        ? '; the key is refused from now on'
        : '; the key is not in the database: take it out of secureKeys';
      const late = everywhere ? '' : '; a server has not answered yet and learns of it when it does';
      return {
        text: `${ended} ${ended === 1 ? 'session' : 'sessions'} revoked${'keyId' in selector ? key : ''}${late}`,
        value: { revoked: ended, ...('keyId' in selector && { keyRefused: refused }), everywhere },
        exitCode: (id !== undefined && ended === 0) || !everywhere ? 1 : 0,
      };
    });
  },
};
