import { randomBytes } from 'node:crypto';
import { formatKeyText, generateKeyText, type KeyKind, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';

/** The keys of a server and its clients: for the server's environment, and for a client. */
export interface Keys {
  readonly env: Readonly<Record<'BENCH_SERVER_KEY' | 'BENCH_SECURE_KEY' | 'BENCH_KEK' | 'BENCH_RAW_KEY', string>>;
  readonly client: { readonly serverKey: string; readonly secureKey: string };
}

export function makeKeys(): Keys {
  const make = (kind: KeyKind) => generateKeyText(kind, nodePrimitives);
  const [serverKey, secureKey] = [make('sws1'), make('swk1')];
  const { publicKey } = parseServerPrivateKey(serverKey, nodePrimitives);
  return {
    env: {
      BENCH_SERVER_KEY: serverKey,
      BENCH_SECURE_KEY: secureKey,
      BENCH_KEK: make('swe1'),
      BENCH_RAW_KEY: randomBytes(32).toString('hex'),
    },
    client: { serverKey: formatKeyText('swp1', publicKey), secureKey },
  };
}
