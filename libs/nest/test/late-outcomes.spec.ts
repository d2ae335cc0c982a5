import 'reflect-metadata';
import { Injectable } from '@nestjs/common';
import { type Injected, RemoteFunction, RemoteFunctionError, RemoteFunctions, RemoteSignal } from '@sealwire/nest';
import { finalize, Observable } from 'rxjs';
import { expect, it, onTestFinished, vi } from 'vitest';
import { callLive, type LiveAnswer, listOf, sendLive } from './live-peer.js';
import { startStreams, Watch } from './streams-application.js';
import { only, type PeerClient } from './support.js';

@RemoteFunctions('live')
@Injectable()
class Late {
  open!: () => void;
  readonly opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });
  steps = 0;
  closed = 0;
  subscribed = 0;
  readonly reasons: unknown[] = [];

  constructor(private readonly watch: Watch) {}

  @RemoteFunction()
  plain(value: unknown): unknown {
    return value;
  }

  @RemoteFunction()
  ticks(): Observable<number> {
    return this.watch.subject;
  }

  @RemoteFunction()
  async generator(@RemoteSignal() signal: Injected<AbortSignal>): Promise<AsyncGenerator<number>> {
    signal.addEventListener('abort', () => this.reasons.push(signal.reason));
    await this.opened;
    return this.numbers();
  }

  @RemoteFunction()
  async observable(): Promise<Observable<never>> {
    await this.opened;
    return new Observable(() => {
      this.subscribed += 1;
      return () => {
        this.subscribed -= 1;
      };
    });
  }

  @RemoteFunction()
  many(): number[] {
    return new Array(70_000).fill(1);
  }

  @RemoteFunction()
  async manyLate(): Promise<number[]> {
    await this.opened;
    return this.many();
  }

  @RemoteFunction()
  signalled(@RemoteSignal() signal: Injected<AbortSignal>): boolean {
    return signal.aborted;
  }

  @RemoteFunction()
  torn(): Observable<number> {
    const torn = () => {
      throw new Error('torn');
    };
    return this.watch.subject.pipe(finalize(torn));
  }

  @RemoteFunction()
  async *halved(): AsyncGenerator<number> {
    yield 1;
    throw new RemoteFunctionError('code_\ud83d', 'half \ude00');
  }

  private async *numbers(): AsyncGenerator<number> {
    this.steps += 1;
    try {
      for (;;) {
        yield 1;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    } finally {
      this.closed += 1;
    }
  }
}

async function start() {
  const started = await startStreams({ functions: Late });
  return { ...started, late: started.app.get(Late), peer: await started.client() };
}

const call = (name: string) => ({ name, args: [] });
const batch = (peer: PeerClient, ...names: string[]) => callLive(peer, ...names.map(call));

it('a stream that is returned when the message that it belongs to has been given up is closed', async () => {
  const { late, peer, watch } = await start();
  const answer = await batch(peer, 'ticks', 'generator', 'observable');
  await answer.value(0);
  answer.cut();
  await vi.waitFor(() => expect(watch.subject.observed).toBe(false));
  late.open();
  await vi.waitFor(() => expect([late.steps, late.closed]).toEqual([1, 1]));
  expect(late.subscribed).toBe(0);
  expect(late.reasons).toMatchObject([{ code: 'cancelled' }]);
});

it('outcomes that are too much for one payload are brought one by one, and are not kept', async () => {
  const { late, peer } = await start();
  const frame = peer.frame([call('many'), call('manyLate')]);
  const answer = (await sendLive(peer, frame, 2)) as LiveAnswer;
  expect(await answer.value(0)).toHaveLength(70_000);
  late.open();
  expect(await answer.value(1)).toHaveLength(70_000);
  await vi.waitFor(async () => expect(await peer.send(frame)).toEqual({ status: 'result_gone' }));
  expect(only(await peer.call('plain', 1))).toBe(1);
});

it('each call of a long batch may ask for its signal', async () => {
  const { peer } = await start();
  const warned: Error[] = [];
  const onWarning = (warning: Error) => warned.push(warning);
  process.on('warning', onWarning);
  onTestFinished(() => void process.off('warning', onWarning));
  const reply = await peer.send(peer.frame(new Array(20).fill(call('signalled'))));
  expect(reply).toEqual({ outcomes: new Array(20).fill({ ok: true, value: false }) });
  expect(warned).toEqual([]);
});

it('an Observable whose teardown throws ends as any other if it is read too slowly', async () => {
  const { peer, watch } = await start();
  const answer = await callLive(peer, call('torn'));
  const items = await answer.value<AsyncIterable<number>>();
  for (let i = 0; i < 20_000; i++) watch.subject.next(i);
  await expect(listOf(items)).rejects.toMatchObject({ code: 'consumer_slow' });
  expect(only(await peer.call('plain', 1))).toBe(1);
});

it('an error whose texts end inside a character ends its stream', async () => {
  const { peer } = await start();
  const answer = await callLive(peer, call('halved'));
  const items = await answer.value<AsyncIterable<number>>();
  await expect(listOf(items)).rejects.toMatchObject({ code: 'code_\ufffd', message: 'half \ufffd' });
});
