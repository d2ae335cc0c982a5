import { formatKeyText, generateKeyText, parseSecureKey, parseServerPrivateKey, toHex } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import {
  type Answer,
  type Command,
  hexadecimal,
  type Invocation,
  takesOnly,
  textOption,
  UsageError,
  withStore,
} from './command.js';

const GENERATED = { 'secure-key': secureKey, kek, 'server-key': serverKey };

export const keygen: Command = {
  usage: ['keygen [secure-key | kek | server-key]'],
  summary: "Makes keys from the system's randomness and prints them; stores nothing.",
  options: {},
  run({ words: [kind, ...rest] }) {
    if (rest.length > 0 || (kind !== undefined && !Object.hasOwn(GENERATED, kind))) {
      throw new UsageError(`There are the kinds ${Object.keys(GENERATED).join(', ')}.`);
    }
    const made = (kind === undefined ? Object.values(GENERATED) : [GENERATED[kind as keyof typeof GENERATED]]).map(
      (make) => make(),
    );
    return {
      text: made.map(({ text }) => text).join('\n\n'),
      value: Object.assign({}, ...made.map(({ value }) => value)),
    };
  },
};

function secureKey(): Answer {
  const text = generateKeyText('swk1', nodePrimitives);
  const keyId = toHex(parseSecureKey(text).keyId);
  return {
    text: `# SecureKey ${keyId}: one for each client, which holds it too\nSEALWIRE_SECURE_KEY=${text}`,
    value: { secureKey: text, keyId },
  };
}

function kek(): Answer {
  const text = generateKeyText('swe1', nodePrimitives);
  return {
    text: `# key-encryption key: only for servers, wraps what the database keeps\nSEALWIRE_KEK=${text}`,
    value: { kek: text },
  };
}

function serverKey(): Answer {
  const text = generateKeyText('sws1', nodePrimitives);
  const publicKey = formatKeyText('swp1', parseServerPrivateKey(text, nodePrimitives).publicKey);
  return {
    text: `# server key: the private half is for servers, clients pin the public half\nSEALWIRE_SERVER_KEY=${text}\nSEALWIRE_SERVER_PUBLIC_KEY=${publicKey}`,
    value: { serverKey: text, serverPublicKey: publicKey },
  };
}

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

const ROTATED = { 'server-key': rotateServerKey, 'secure-key': rotateSecureKey, kek: rotateKek };

const DONE = 'Once every server has the first key of SEALWIRE_KEK first, the others may go.';

export const rotate: Command = {
  usage: [
    'rotate server-key --valid-until <time>',
    'rotate secure-key --module <module> [--key <keyId>] --valid-until <time>',
    'rotate kek',
  ],
  summary: [
    'Makes a new server key or SecureKey in the database; the old ones stay good until <time> (2100-01-31T00:00:00Z).',
    'Keys that the application configures (serverKey, secureKeys) are rotated there.',
    'rotate kek brings every row under the first key of SEALWIRE_KEK. To change that key without refusing anybody:',
    '  1. append the new key to SEALWIRE_KEK of every server (old,new) and restart them one by one',
    '  2. put it first on every server (new,old) and restart them one by one',
    '  3. rotate kek, with the same SEALWIRE_KEK; it can be broken off and run again',
    '  4. take the old key away',
    'Between the steps each server has to be through with the one before.',
  ].join('\n'),
  options: { module: { type: 'string' }, key: { type: 'string' }, 'valid-until': { type: 'string' } },
  run(invocation) {
    const [kind = '', ...rest] = invocation.words;
    if (rest.length > 0 || !Object.hasOwn(ROTATED, kind))
      throw new UsageError(`Say ${Object.keys(ROTATED).join(', ')}.`);
    return ROTATED[kind as keyof typeof ROTATED](invocation);
  },
};

function rotateServerKey(invocation: Invocation): Promise<Answer> {
  takesOnly(invocation, 'valid-until');
  const validUntil = validUntilOf(invocation);
  return withStore(invocation, async ({ admin }) => {
    const publicKey = await admin.rotateServerKey({ validUntil });
    return {
      text: `${publicKey}\nClients pin this key from now on; the old one stays good until ${validUntil.toISOString()}.`,
      value: { serverPublicKey: publicKey, oldValidUntil: validUntil },
    };
  });
}

function rotateSecureKey(invocation: Invocation): Promise<Answer> {
  const validUntil = validUntilOf(invocation);
  const module = textOption(invocation, 'module');
  if (!module) throw new UsageError('--module says whose SecureKey it is.');
  const key = textOption(invocation, 'key');
  const keyId = key === undefined ? undefined : hexadecimal(key, 8, 'The id of a SecureKey');
  return withStore(invocation, async ({ admin }) => {
    const secureKey = await admin.rotateSecureKey(module, { validUntil, ...(keyId && { keyId }) });
    return {
      text: `${secureKey}\nGive it to the client; the old ${keyId ? 'one stays' : 'ones stay'} good until ${validUntil.toISOString()}.`,
      value: { secureKey, keyId: toHex(parseSecureKey(secureKey).keyId), oldValidUntil: validUntil },
    };
  });
}

function rotateKek(invocation: Invocation): Promise<Answer> {
  takesOnly(invocation);
  return withStore(invocation, async ({ admin }) => {
    const result = await admin.rewrap();
    const refused = `${result.unreadable} rows could not be read: altered, or wrapped by a key that SEALWIRE_KEK does not hold`;
    return {
      text: `${result.rewrapped} rows wrapped anew\n${result.unreadable > 0 ? refused : DONE}`,
      value: result,
      exitCode: result.unreadable > 0 ? 1 : 0,
    };
  });
}

function validUntilOf(invocation: Invocation): Date {
  const text = textOption(invocation, 'valid-until') ?? '';
  const [, date] = /^(\d{4}-\d\d-\d\d)T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)$/.exec(text) ?? [];
  const time = new Date(text);
  // Date takes February 30 for March 2
  const exists = date !== undefined && !Number.isNaN(time.getTime()) && new Date(date).toISOString().startsWith(date);
  if (!exists || time.getTime() <= Date.now()) {
    throw new UsageError(`--valid-until is a time to come, such as 2100-01-31T00:00:00Z, got "${text}".`);
  }
  return time;
}
