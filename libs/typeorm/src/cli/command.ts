import type { ParseArgsConfig } from 'node:util';
import { ownOptions } from '@sealwire/core';
import type { TypeOrmStoreOptions } from '../index.js';

/** The words after the command, the options it declares, and the process's environment. */
export interface Invocation {
  readonly words: readonly string[];
  readonly options: Readonly<Record<string, string | boolean | undefined>>;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** The answer of a command: `text` for people, `value` for `--json`. */
export interface Answer {
  readonly text: string;
  readonly value: unknown;
  readonly exitCode?: 0 | 1;
}

export interface Command {
  readonly usage: readonly string[];
  readonly summary: string;
  readonly options: NonNullable<ParseArgsConfig['options']>;
  run(invocation: Invocation): Answer | Promise<Answer>;
}

/** The command was called in a way it does not know; answered with its usage and exit code 2. */
export class UsageError extends Error {}

/** Refuses what the command knows but this use of it does not. */
export function takesOnly({ options }: Invocation, ...names: string[]): void {
  const known = ['json', 'help', ...names];
  const other = Object.keys(options).find((name) => !known.includes(name));
  if (other !== undefined) throw new UsageError(`--${other} means nothing here.`);
}

/** An option's text, if it was given. */
export function textOption({ options }: Invocation, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

/** An id of that many bytes in hexadecimal. */
export function hexadecimal(text: string, bytes: number, what: string): string {
  if (text.length !== 2 * bytes || !/^[0-9a-f]+$/i.test(text)) {
    throw new UsageError(`${what} is ${2 * bytes} hexadecimal digits, got "${text}".`);
  }
  return text.toLowerCase();
}

type Connect = typeof import('../index.js').connectTypeOrmStore;
type Store = Awaited<ReturnType<Connect>>;

/** Connects to the servers' database for the time of `work`. TypeORM is loaded only here: other commands do without it. */
export async function withStore<T>(
  { env }: Invocation,
  work: (store: Store) => Promise<T>,
  times: Pick<TypeOrmStoreOptions, 'tombstoneSeconds' | 'outcomeSeconds'> = {},
): Promise<T> {
  const { DATABASE_URL: url, SEALWIRE_KEK: kek } = ownOptions(env, ['DATABASE_URL', 'SEALWIRE_KEK']);
  if (!url || !/^postgres(ql)?:\/\//.test(url)) {
    throw new Error(
      'DATABASE_URL is missing or names no PostgreSQL server. An embedded database (PGlite) belongs to its one running' +
        ' server and is administered there, through SealwireSessions.',
    );
  }
  const { connectTypeOrmStore } = await import('../index.js');
  const store = await connectTypeOrmStore(url, { kek, ...times });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
