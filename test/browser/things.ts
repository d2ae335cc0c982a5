import { createHash } from 'node:crypto';
import { ConflictException } from '@nestjs/common';
import { RemoteFunction, RemoteFunctionError, RemoteFunctions } from '@sealwire/nest';

export interface Account {
  name: string;
  cents: bigint;
  since: Date;
  tags: Map<string, string>;
}

/** What the specs call. */
@RemoteFunctions('things')
export class ThingsController {
  @RemoteFunction()
  add(a: number, b: number): number {
    return a + b;
  }

  @RemoteFunction()
  account(name: string): Account {
    const tags = new Map([['kind', 'current']]);
    return { name, cents: 12_345_678_901_234_567n, since: new Date('2026-01-02T03:04:05Z'), tags };
  }

  @RemoteFunction()
  echo(value: unknown): unknown {
    return value;
  }

  @RemoteFunction()
  fail(kind: 'conflict' | 'own'): never {
    if (kind === 'conflict') throw new ConflictException('The account is locked.');
    throw new RemoteFunctionError('no_money', 'There is too little on it.', { missing: 5 });
  }
}

export type ThingsApi = Pick<ThingsController, keyof ThingsController>;

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
