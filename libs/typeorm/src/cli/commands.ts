import { readFileSync } from 'node:fs';
import {
  describeFrame,
  formatKeyText,
  fromHex,
  generateKeyText,
  parseSecureKey,
  parseServerPrivateKey,
  toHex,
} from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { ownSelector, type SessionSelector, type SessionSummary } from '@sealwire/nest/ports';
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

const SELECTOR_OPTIONS = { key: { type: 'string' }, module: { type: 'string' } } as const;

/** The sessions that `--key` or `--module` name; undefined if neither is given. */
function selectorOf(invocation: Invocation): SessionSelector | undefined {
  const key = textOption(invocation, 'key');
  const module = textOption(invocation, 'module');
  if (key !== undefined && module !== undefined) throw new UsageError('Give --key or --module, not both.');
  if (key !== undefined) return { keyId: fromHex(hexadecimal(key, 8, 'The id of a SecureKey')) };
  return module === undefined ? undefined : { module };
}

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
    const [only] = chosen;
    if (rest.length > 0 || chosen.length !== 1 || !only) {
      throw new UsageError('Say which sessions: one id, --key, --module or --all.');
    }
    const selector = ownSelector(only);
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

export const decode: Command = {
  usage: ['decode <frame in hexadecimal | file>'],
  summary:
    'Names the parts of a recorded frame that anybody on the way can tell apart. It needs no key and opens nothing.',
  options: {},
  run({ words: [source, ...rest] }) {
    if (source === undefined || rest.length > 0) throw new UsageError('Give one frame.');
    const hex = source.replaceAll(/\s/g, '');
    const frame = /^([0-9a-f]{2})+$/i.test(hex) ? fromHex(hex) : new Uint8Array(readFileSync(source));
    const described = describeFrame(frame);
    if (!described) throw new Error('This is no frame: its first byte names no type.');
    const lines = described.fields.map(({ name, offset, length, value, text }) =>
      `${`${offset}`.padStart(8)}  ${`${length}`.padStart(6)}  ${name.padEnd(20)}  ${value ?? text ?? ''}`.trimEnd(),
    );
    return {
      text: [`${described.type}, ${frame.length} bytes`, '  offset  length', ...lines].join('\n'),
      value: described,
    };
  },
};
