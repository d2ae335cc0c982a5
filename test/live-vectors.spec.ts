import { readFileSync } from 'node:fs';
import {
  decodeCalls,
  decodeOutcome,
  decodeReply,
  fromHex,
  parseCall,
  runSync,
  SealwireError,
  toHex,
} from '@sealwire/core';
import {
  decodeEnding,
  decodeResult,
  IncomingStreams,
  openLiveCall,
  openLiveResult,
  UNIT,
  type Unit,
  UnitReader,
} from '@sealwire/core/live';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { describe, expect, it } from 'vitest';

const read = (name: string) => JSON.parse(readFileSync(new URL(`vectors/${name}.json`, import.meta.url), 'utf8'));
const live = read('live');
const refusals = read('live-refused');
const errorOf = ({ code, message }: { code: string; message: string }) => Object.assign(new Error(message), { code });
type Items = AsyncIterableIterator<unknown>;

/** The units of a live call, as a server takes them. */
function takeCall(secret: string, keySize: 16 | 32, limit: number, frame: Uint8Array) {
  const key = { primitives, keySize, secret: fromHex(secret) };
  const opener = openLiveCall(key, parseCall(frame.subarray(0, 36)));
  const units = new UnitReader('call', limit);
  const streams = new IncomingStreams({ errorOf });
  let calls: ReturnType<typeof decodeCalls> = [];
  for (const unit of runSync(opener.push(frame.subarray(36))).flatMap((body) => units.push(body))) {
    if (unit.kind === UNIT.payload) calls = decodeCalls(unit.bytes, { revive: streams.revive });
    else if (unit.kind !== UNIT.pulse) streams.accept(unit);
  }
  opener.end();
  if (!units.clean || streams.open > 0) throw new SealwireError('bad_payload');
  return calls;
}

describe('the live result of the vectors', () => {
  it('brings what it holds', async () => {
    const { result } = live;
    const key = { primitives, keySize: result.keySize, secret: fromHex(result.serverToClient) };
    const frame = fromHex(result.frame);
    const opener = openLiveResult(key, fromHex(result.callHeader), frame.subarray(0, 12));
    const reader = new UnitReader('result', 1000, 2);
    const units = runSync(opener.push(frame.subarray(12))).flatMap((body) => reader.push(body));
    opener.end();
    const noted = ({ kind, stream, bytes }: Unit) => ({ kind, stream, bytes: toHex(bytes) });
    expect(units.map(noted)).toEqual(result.pieces.flatMap((piece: { units: unknown[] }) => piece.units));
    const streams = new IncomingStreams({ errorOf });
    const outcomes: unknown[] = [];
    for (const unit of units) {
      if (unit.kind === UNIT.outcome) outcomes[unit.stream] = decodeOutcome(unit.bytes, { revive: streams.revive });
      else if (unit.kind < UNIT.progress) streams.accept(unit);
    }
    expect(streams.open).toBe(0);
    expect(reader.missing).toBe(0);
    const [first, second] = outcomes as [
      { value: { items: Items; bytes: ReadableStream<Uint8Array> } },
      { value: Items },
    ];
    expect(await first.value.items.next()).toEqual({ done: false, value: 1250n });
    expect(await first.value.items.next()).toEqual({ done: true, value: undefined });
    const bytes = first.value.bytes.getReader();
    expect(await bytes.read()).toEqual({ done: false, value: Uint8Array.of(1, 2, 3) });
    await expect(bytes.read()).rejects.toMatchObject({ code: 'late', message: 'Too late.' });
    expect(await second.value.next()).toEqual({ done: false, value: { cents: 5 } });
    expect(streams.list.map(({ position, arrived }) => [position, arrived])).toEqual([
      [[undefined, 0], 1],
      [[undefined, 0], 103],
      [['a', 1], 1],
    ]);
    expect(decodeReply(fromHex(live.status))).toEqual({ status: 'session_ended' });
  });
});

describe('an ordinary result', () => {
  const read = (text: string) => decodeResult(fromHex(text));

  it('brings the items of a sequence that has ended', async () => {
    const items: unknown[] = [];
    const reply = read(live.complete) as unknown as { outcomes: [{ value: Items }] };
    for await (const item of reply.outcomes[0].value) items.push(item);
    expect(items).toEqual([1250n, { cents: 5 }]);
  });

  it.each(Object.entries<string>(refusals.ordinary.taken))('is taken: %s', (_name, text) => {
    expect(read(text)).toHaveProperty('outcomes');
  });

  it.each(Object.entries<string>(refusals.ordinary.refused))('is refused: %s', (_name, text) => {
    expect(() => read(text)).toThrow(SealwireError);
  });
});

describe('a reader of live results', () => {
  const { unitLimit, results } = refusals;
  const take = (text: string) => {
    const units = new UnitReader('result', unitLimit, results.calls);
    const streams = new IncomingStreams({ errorOf });
    let ended = false;
    for (const { kind, ...unit } of units.push(fromHex(text))) {
      if (kind === UNIT.status) ended = decodeEnding(unit.bytes) !== undefined;
      else if (kind === UNIT.outcome) decodeOutcome(unit.bytes, { revive: streams.revive });
      else if (kind < UNIT.progress) streams.accept({ kind, ...unit });
    }
    if (!units.clean || (!ended && (units.missing > 0 || streams.open > 0))) throw new SealwireError('bad_payload');
  };

  it.each(Object.entries<string>(results.taken))('takes: %s', (_name, text) => {
    expect(() => take(text)).not.toThrow();
  });

  it.each(Object.entries<string>(results.refused))('refuses: %s', (_name, text) => {
    expect(() => take(text)).toThrow(SealwireError);
  });
});

describe('the live call of the vectors', () => {
  it('brings its file', async () => {
    const { keySize, clientToServer, frame } = live.call;
    const call = takeCall(clientToServer, keySize, 1000, fromHex(frame))[0]!;
    expect(call).toMatchObject({ name: 'keep', args: [{ name: 'a.csv', type: 'text/csv', size: 3 }] });
    expect(await (call.args[0] as { blob(): Promise<Blob> }).blob().then((blob) => blob.text())).toBe('a;b');
  });
});

describe('a reader of live calls', () => {
  const { clientToServer, keySize, unitLimit, taken, refused } = refusals;
  const take = (frame: string) => takeCall(clientToServer, keySize, unitLimit, fromHex(frame));

  it.each(Object.entries<string>(taken))('takes: %s', (_name, frame) => {
    expect(take(frame)).toHaveLength(1);
  });

  it.each(Object.entries<string>(refused))('refuses: %s', (_name, frame) => {
    expect(() => take(frame)).toThrow(SealwireError);
  });
});
