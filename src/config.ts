import { resolve } from 'node:path';
import { parseKeyText, thrownText } from '@sealwire/core';
import { privateText } from './data-folder.js';
import { StartupError } from './startup-error.js';

export interface Config {
  readonly host: string;
  /** 0 takes a free one */
  readonly port: number;
  /** PostgreSQL; without it an embedded one runs in the data folder */
  readonly databaseUrl: string | undefined;
  readonly dataFolder: string;
  readonly ledger: 'memory' | 'postgres';
  /** what `npm run build` made of apps/web */
  readonly pageFolder?: string;
  /** hands out a SecureKey made for the demo, and restarts and revokes for whoever asks on this machine */
  readonly demo?: boolean;
  /** for tests: start although the database may forget in a crash what it acknowledged */
  readonly allowFsyncOff?: boolean;
}

export interface Secrets {
  /** wraps every secret that the database keeps */
  readonly keyEncryptionKey: string;
  /** the key that clients of the module `payments` hold too */
  readonly secureKey: string;
  /** the key that the demo hands out to each page */
  readonly demoSecureKey?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

export function readConfig(env: Environment = process.env): Config {
  const demo = readSwitch(env, 'SEALWIRE_DEMO');
  if (demo && env.NODE_ENV === 'production') {
    throw new StartupError(
      'SEALWIRE_DEMO gives a SecureKey to whoever asks, so it is refused if NODE_ENV is "production": leave out one of them.',
    );
  }
  return {
    host: env.HOST || '127.0.0.1',
    port: readPort(env.PORT || '3000'),
    databaseUrl: readDatabaseUrl(env.DATABASE_URL || undefined),
    dataFolder: resolve(env.SEALWIRE_DATA || 'data'),
    ledger: readNumberLedger(env.SEALWIRE_LEDGER || 'memory'),
    pageFolder: resolve(env.SEALWIRE_PAGE || 'apps/web/dist'),
    demo,
    allowFsyncOff: readSwitch(env, 'SEALWIRE_ALLOW_FSYNC_OFF'),
  };
}

/** Only the embedded database may have its secrets beside it: a server with its own database must be told them. */
export function readSecrets(config: Config, env: Environment = process.env): Secrets {
  const secret = (name: string, kind: 'swe1' | 'swk1', file: string) => {
    const given = env[name];
    if (given) return wellFormed(name, kind, given);
    if (!config.databaseUrl) return privateText(config.dataFolder, file, kind);
    throw new StartupError(`${name} is missing: with DATABASE_URL set, give one made by "npm run sealwire keygen".`);
  };
  return {
    keyEncryptionKey: secret('SEALWIRE_KEK', 'swe1', 'key-encryption-key'),
    secureKey: secret('SEALWIRE_SECURE_KEY', 'swk1', 'secure-key'),
    // one of its own: a key that somebody gave is handed out to nobody
    ...(config.demo ? { demoSecureKey: privateText(config.dataFolder, 'demo-secure-key', 'swk1') } : {}),
  };
}

/** A key-encryption key may be followed by older ones, separated by commas or spaces. */
function wellFormed(name: string, kind: 'swe1' | 'swk1', text: string): string {
  try {
    const keys = kind === 'swe1' ? text.split(/[\s,]+/).filter(Boolean) : [text];
    for (const key of keys.length > 0 ? keys : [text]) parseKeyText(kind, key);
    return text;
  } catch (error) {
    throw new StartupError(`${name}: ${thrownText(error)}`);
  }
}

function readPort(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text);
  throw new StartupError(`PORT is "${text}", but it must be a number from 0 to 65535.`);
}

/** The text is not repeated: it may hold a password. */
function readDatabaseUrl(text: string | undefined): string | undefined {
  if (text === undefined || /^postgres(ql)?:\/\//.test(text)) return text;
  throw new StartupError('DATABASE_URL must be a URL such as "postgres://user:password@localhost:5432/payments".');
}

function readSwitch(env: Environment, name: string): boolean {
  const text = env[name] || 'no';
  if (text === 'yes' || text === 'no') return text === 'yes';
  throw new StartupError(`${name} is "${text}", but it must be "yes" or "no".`);
}

function readNumberLedger(text: string): Config['ledger'] {
  if (text !== 'memory' && text !== 'postgres') {
    throw new StartupError(`SEALWIRE_LEDGER is "${text}", but it must be "memory" or "postgres".`);
  }
  return text;
}
