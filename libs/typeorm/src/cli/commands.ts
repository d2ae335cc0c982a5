import { readFileSync } from 'node:fs';
import { describeFrame, fromHex, toHex } from '@sealwire/core';
import { ownSelector, type SessionSelector, type SessionSummary } from '@sealwire/nest/ports';
import type { KeySummary } from '../index.js';
import { type Command, hexadecimal, type Invocation, takesOnly, textOption, UsageError, withStore } from './command.js';

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
  summary: [
    'Ends sessions and waits until every running server knows. --key also refuses that SecureKey from now on; if it was the last',
    'one of its module, clients without one stay refused.',
  ].join('\n'),
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
    return withStore(invocation, async ({ sessions, directory, keys, admin }) => {
      const refused = 'keyId' in selector && (await keys.revokeSecureKey(selector.keyId));
      const ended = await directory.end(selector, 'keyId' in selector ? 'secure_key_revoked' : 'revoked');
      const everywhere = (ended === 0 && !refused) || (await sessions.settled(PATIENCE));
      const key = 'keyId' in selector ? fateOf(toHex(selector.keyId), refused, await admin.list()) : undefined;
      const late = everywhere ? '' : '; a server has not answered yet and learns of it when it does';
      return {
        text: `${ended} ${ended === 1 ? 'session' : 'sessions'} revoked${key?.text ?? ''}${late}`,
        value: { revoked: ended, ...(key && { keyRefused: key.refused }), everywhere },
        exitCode: ((id ?? key) !== undefined && ended === 0 && !refused) || !everywhere ? 1 : 0,
      };
    });
  },
};

/** What the database says of a SecureKey that was to be revoked, and was just now or not. */
function fateOf(id: string, now: boolean, keys: readonly KeySummary[]): { refused: boolean; text: string } {
  const secure = keys.filter(({ kind }) => kind === 'secure');
  const [own, ...more] = secure.filter((key) => key.id === id);
  if (!own) return { refused: false, text: '; the key is not in the database: take it out of secureKeys' };
  const { validUntil: end = new Date() } = own;
  if (!now) return { refused: true, text: `; the key is refused since ${end.toISOString()}` };
  const good = secure.filter(({ validUntil }) => validUntil === undefined || validUntil > end);
  const bare = [own, ...more].filter(({ module }) => good.every((key) => key.module !== module));
  const last = bare.map(
    ({ module }) =>
      `; it was the last SecureKey in the database of module '${module}', where clients without one stay refused unless it has` +
      ' requireSecureKey: false',
  );
  return { refused: true, text: `; the key is refused from now on${last.join('')}` };
}

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
