import type { Injected } from '@sealwire/core';
import { describe, expectTypeOf, it } from 'vitest';
import type { Remote, RemoteApi, Settled } from '../src/node.js';

interface Receipt {
  readonly id: string;
  readonly cents: bigint;
}

declare class PaymentsController {
  private readonly repository: unknown;
  protected audit(): void;
  readonly title: string;
  balance(account: string): Promise<bigint>;
  transfer(order: { from: string; to: string; cents: bigint }, session: Injected<{ id: string }>): Promise<Receipt>;
  rate(currency?: string): number;
  statement(session: Injected<{ id: string }>, account: string, ...months: number[]): Promise<Receipt[]>;
  toJSON(): string;
  onModuleInit(): void;
}

type Api = RemoteApi<PaymentsController>;
declare const payments: Remote<Api>;

describe('RemoteApi', () => {
  it('holds the public methods, without reserved names', () => {
    expectTypeOf<keyof Api>().toEqualTypeOf<'balance' | 'transfer' | 'rate' | 'statement'>();
    expectTypeOf<RemoteApi<typeof PaymentsController>>().toEqualTypeOf<Api>();
  });

  it('awaits results and leaves injected parameters out', () => {
    expectTypeOf<Api['balance']>().toEqualTypeOf<(account: string) => Promise<bigint>>();
    expectTypeOf<Api['rate']>().returns.toEqualTypeOf<Promise<number>>();
    expectTypeOf<Parameters<Api['transfer']>>().toEqualTypeOf<[{ from: string; to: string; cents: bigint }]>();
    expectTypeOf<Parameters<Api['statement']>>().toEqualTypeOf<[string, ...number[]]>();
  });

  it('keeps optional parameters optional', () => {
    expectTypeOf<Api['rate']>().toBeCallableWith();
    expectTypeOf<Api['rate']>().toBeCallableWith('EUR');
  });
});

describe('Remote', () => {
  it('types the outcomes of a batch as a tuple', () => {
    const run = () => payments.$batch((r) => [r.balance('x'), r.transfer({ from: 'x', to: 'y', cents: 1n })]);
    expectTypeOf(run).returns.resolves.toEqualTypeOf<[Settled<bigint>, Settled<Receipt>]>();
    const list = () => payments.$batch((r) => ['x', 'y'].map((account) => r.balance(account)));
    expectTypeOf(list).returns.resolves.toEqualTypeOf<Settled<bigint>[]>();
  });

  it('types events and calls with options', () => {
    expectTypeOf<ReturnType<typeof payments.$call>>().toEqualTypeOf<Api>();
    const listen = () => payments.$events.on('resumed', ({ lane }) => expectTypeOf(lane).toEqualTypeOf<number>());
    expectTypeOf(listen).returns.toEqualTypeOf<() => void>();
    // @ts-expect-error no such event
    (() => payments.$events.on('nothing', () => {})) satisfies unknown;
    // @ts-expect-error an account is a string
    (() => payments.balance(5)) satisfies unknown;
  });
});
