// @vitest-environment jsdom
import './support.js';
import { ApplicationRef, Component, Injector } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import {
  injectConnection,
  injectRemote,
  OutcomeUnknownError,
  provideSealwire,
  RemoteError,
  remoteAction,
  remoteModule,
  remoteStream,
  withModule,
} from '@sealwire/angular';
import { provideSealwireTesting, SealwireTestingController } from '@sealwire/angular/testing';
import { beforeEach, describe, expect, it } from 'vitest';
import { Payments, Public, Rates } from './server.js';

async function answered<T, S>(result: Promise<T>, answer: () => S): Promise<{ result: T; source: S }> {
  const source = answer();
  return { result: await result, source };
}

let sealwire: SealwireTestingController;
beforeEach(() => {
  TestBed.configureTestingModule({ providers: [provideSealwireTesting()] });
  sealwire = TestBed.inject(SealwireTestingController);
});

describe('SealwireTestingController', () => {
  it('answers calls with values, errors and unknown outcomes', async () => {
    const remote = TestBed.inject(Payments);
    const value = remote.balance({ account: 'a' });
    const call = sealwire.expectOne(Payments, 'balance');
    expect([call.name, call.args[0].account]).toEqual(['payments.balance', 'a']);
    call.flush(5n);
    expect(await value).toBe(5n);

    const refused = remote.balance({ account: 'b' });
    sealwire.expectOne(Payments, 'balance').error('no_such_account', 'None.', { account: 'b' });
    const error = await refused.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(RemoteError);
    expect(error).toMatchObject({ code: 'no_such_account', message: 'None.', details: { account: 'b' } });

    const lost = remote.balance({ account: 'c' });
    sealwire.expectOne(Payments, 'balance').outcomeUnknown();
    await expect(lost).rejects.toBeInstanceOf(OutcomeUnknownError);
  });

  it('says what is open when it finds something else', () => {
    const remote = TestBed.inject(Payments);
    expect(() => sealwire.expectOne(Payments, 'balance')).toThrow(
      'Expected one call of payments.balance, found 0. Open: none.',
    );
    void remote.echo(Uint8Array.of());
    expect(() => sealwire.expectOne(Payments, 'balance')).toThrow('Open: payments.echo.');
    expect(() => sealwire.expectNone(Payments)).toThrow('Expected no call of payments.echo, found 1.');
    expect(() => sealwire.expectNone(Payments, 'echo')).toThrow();
    expect(() => sealwire.verify()).toThrow('payments.echo');
    sealwire.expectNone(Payments, 'balance');
    sealwire.expectNone(Public);
    void remote.balance({ account: 'a' });
    void remote.balance({ account: 'b' });
    expect(() => sealwire.expectOne(Payments, 'balance')).toThrow('found 2');
    sealwire.expectOne(Payments, 'echo');
    sealwire.verify();
  });

  it('answers each call once, and none that was cancelled', async () => {
    const remote = TestBed.inject(Payments);
    const stop = new AbortController();
    const call = remote.$call({ signal: stop.signal }).balance({ account: 'a' });
    const found = sealwire.expectOne(Payments, 'balance');
    stop.abort();
    await expect(call).rejects.toMatchObject({ name: 'AbortError' });
    expect(found.cancelled).toBe(true);
    expect(() => found.flush(1n)).toThrow('payments.balance was cancelled');
    void remote.balance({ account: 'a' });
    const other = sealwire.expectOne(Payments, 'balance');
    other.flush(1n);
    expect(() => other.flush(2n)).toThrow('answered already');
  });

  it('says how far a call is, to an action that shows it', async () => {
    const injector = TestBed.inject(Injector);
    const echo = remoteAction(Payments, (payments) => payments.echo, { injector, progress: true });
    echo.run(Uint8Array.of(1));
    const call = sealwire.expectOne(Payments, 'echo');
    call.progress({ up: 10 });
    call.progress({ value: 'read' });
    expect(echo.progress()).toEqual({ up: 10, down: 0, value: 'read' });
    call.flush(Uint8Array.of(1));
    expect(() => call.progress({ up: 20 })).toThrow('answered already');
    // nobody asked
    const balance = TestBed.inject(Payments).balance({ account: 'a' });
    const other = sealwire.expectOne(Payments, 'balance');
    other.progress({ up: 1 });
    other.flush(1n);
    expect(await balance).toBe(1n);
  });

  it('cuts a stream, as a lost connection does, and names what is open at the end', async () => {
    const count = await answered(TestBed.inject(Rates).count(9), () => sealwire.expectOne(Rates, 'count').stream());
    count.source.next(1);
    count.source.next(2);
    count.source.cut();
    const items: number[] = [];
    const read = async () => {
      for await (const item of count.result) items.push(item);
    };
    await expect(read()).rejects.toMatchObject({ code: 'stream_cut', details: { items: 2 } });
    expect(items).toEqual([1, 2]);
    expect(() => count.source.next(3)).toThrow('has ended');
    void TestBed.inject(Payments).balance({ account: 'a' });
    void TestBed.inject(Rates).count(1);
    expect(() => sealwire.verify()).toThrow('Calls that nothing expected. Open: payments.balance, rates.count.');
  });

  it('loses the connection of a stream that is resumable, which goes on with what comes next', async () => {
    const count = remoteStream(Rates, (rates) => rates.count(9), { injector: TestBed.inject(Injector) });
    const other = remoteStream(Rates, (rates) => rates.count(2), { injector: TestBed.inject(Injector) });
    const [source, beside] = sealwire.match(Rates, 'count').map((call) => call.stream());
    const stable = () => TestBed.inject(ApplicationRef).whenStable();
    const heard: unknown[] = [];
    const { $events } = TestBed.inject(Rates);
    $events.on('resuming', ({ functionName, attempt }) => heard.push([functionName, attempt]));
    $events.on('streamResumed', ({ functionName }) => heard.push(functionName));
    source?.next(1);
    await stable();
    source?.resuming();
    source?.resuming();
    await stable();
    expect([count.status(), other.status(), count.items()]).toEqual(['resuming', 'open', [1]]);
    source?.next(2);
    await stable();
    expect([count.status(), count.items()]).toEqual(['open', [1, 2]]);
    source?.resuming();
    source?.end();
    beside?.resuming();
    beside?.error('source_changed');
    await stable();
    expect([count.status(), other.status(), other.error()?.code]).toEqual(['ended', 'error', 'source_changed']);
    const resuming = ['count', 1];
    expect(heard).toEqual([resuming, ['count', 2], 'count', resuming, 'count', resuming]);
    expect(() => source?.resuming()).toThrow('has ended');
  });

  it('says how a module stands with its server', () => {
    const waiting = { state: 'waiting', since: 0, attempt: 2, cause: undefined } as const;
    expect(() => sealwire.connection(Rates, waiting)).toThrow('Nothing has injected the module rates yet');
    const connection = injectConnection(Rates, { injector: TestBed.inject(Injector) });
    const other = injectConnection(Payments, { injector: TestBed.inject(Injector) });
    sealwire.connection(Rates, waiting);
    expect([connection(), TestBed.inject(Rates).$connection(), other()]).toEqual([waiting, waiting, { state: 'idle' }]);
    sealwire.connection(Rates, { state: 'connecting' });
    expect(connection()).toEqual({ state: 'connecting' });
  });

  it('keeps the application unstable until what a stream was given is shown', async () => {
    @Component({ selector: 'app-counted', template: '{{ count.status() }} {{ count.items() }}' })
    class Counted {
      readonly count = remoteStream(Rates, (rates) => rates.count(9));
    }
    const fixture = TestBed.createComponent(Counted);
    const source = sealwire.expectOne(Rates, 'count').stream();
    source.next(1);
    await fixture.whenStable();
    expect(fixture.nativeElement.textContent).toBe('open 1');
    source.next(2);
    source.next(3);
    await fixture.whenStable();
    expect(fixture.nativeElement.textContent).toBe('open 1,2,3');
    source.end();
    await fixture.whenStable();
    expect(fixture.nativeElement.textContent).toBe('ended 1,2,3');
    // nobody reads it
    void TestBed.inject(Rates).count(1);
    sealwire.expectOne(Rates, 'count').stream().next(1);
    await fixture.whenStable();
  });

  it('sees each call of a batch', async () => {
    const both = TestBed.inject(Payments).$batch((payments) => [
      payments.balance({ account: 'a' }),
      payments.transfer('a', 'b', 1n),
    ]);
    sealwire.expectOne(Payments, 'transfer').error('refused');
    sealwire.expectOne(Payments, 'balance').flush(5n);
    expect(await both).toEqual([
      { status: 'fulfilled', value: 5n },
      { status: 'rejected', reason: expect.objectContaining({ code: 'refused' }) },
    ]);
  });

  it('types names, arguments and values', () => {
    const typed = (): void => {
      // @ts-expect-error no such function
      sealwire.expectOne(Payments, 'balanse');
      // @ts-expect-error the value is a bigint
      sealwire.expectOne(Payments, 'balance').flush('5');
      // @ts-expect-error the argument has no such property
      sealwire.match(Payments, 'balance')[0]?.args[0].amount;
    };
    expect(typed).toBeTypeOf('function');
  });

  it('takes the place of the network beside provideSealwire(), whichever comes first', async () => {
    for (const isFirst of [true, false]) {
      TestBed.resetTestingModule();
      const real = provideSealwire({}, withModule(Payments, { url: 'https://nowhere.example/remote' }));
      const providers = isFirst ? [provideSealwireTesting(), real] : [real, provideSealwireTesting()];
      TestBed.configureTestingModule({ providers });
      const balance = TestBed.inject(Payments).balance({ account: 'a' });
      TestBed.inject(SealwireTestingController).expectOne(Payments, 'balance').flush(3n);
      expect(await balance).toBe(3n);
    }
  });
});

describe('a module', () => {
  it('needs a path, and its remote needs a provider', () => {
    expect(() => remoteModule('')).toThrow(
      expect.objectContaining({
        code: 'bad_configuration',
        message: expect.stringContaining('takes the path of a module'),
      }),
    );
    TestBed.resetTestingModule();
    expect(() => TestBed.inject(Payments)).toThrow('add provideSealwire(...)');
  });

  it('shows mistakes of the configuration where it is injected', () => {
    TestBed.resetTestingModule();
    TestBed.configureTestingModule({ providers: [provideSealwire({ keySise: 32 } as never)] });
    expect(() => TestBed.inject(Payments)).toThrow(/keySise/);
    TestBed.resetTestingModule();
    TestBed.configureTestingModule({ providers: [provideSealwire({})] });
    expect(() => TestBed.runInInjectionContext(() => injectRemote(Payments))).toThrow(/Give one of them/);
  });
});
