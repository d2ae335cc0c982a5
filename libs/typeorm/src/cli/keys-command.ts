import { parseSecureKey, toHex } from '@sealwire/core';
import { type Answer, type Command, type Invocation, textOption, UsageError } from './command.js';
import { withStore } from './store.js';

export const keys: Command = {
  usage: ['keys list [--module <module>]', 'keys add --module <module>'],
  summary:
    'Lists the server keys and SecureKeys of the database, without their secrets, or adds a SecureKey to a module.',
  options: { module: { type: 'string' } },
  run(invocation) {
    const [verb, ...rest] = invocation.words;
    if (rest.length > 0 || (verb !== 'list' && verb !== 'add')) throw new UsageError('Say list or add.');
    return verb === 'list' ? list(invocation) : add(invocation);
  },
};

function list(invocation: Invocation): Promise<Answer> {
  return withStore(invocation, async ({ admin }) => {
    const module = textOption(invocation, 'module');
    const listed = (await admin.list()).filter((key) => module === undefined || key.module === module);
    const lines = listed.map(({ kind, id, module, created, validUntil }) => {
      const name = kind === 'server' ? `server key ${id}` : `SecureKey ${id}  ${module}`;
      return `${name}  made ${created.toISOString()}${validUntil ? `  until ${validUntil.toISOString()}` : ''}`;
    });
    return { text: lines.join('\n') || 'no keys', value: listed };
  });
}

function add(invocation: Invocation): Promise<Answer> {
  const module = textOption(invocation, 'module');
  if (!module) throw new UsageError('--module says whose SecureKey it is.');
  return withStore(invocation, async ({ admin }) => {
    const secureKey = await admin.addSecureKey(module);
    return {
      text: `${secureKey}\nGive it to the client.`,
      value: { secureKey, keyId: toHex(parseSecureKey(secureKey).keyId) },
    };
  });
}
