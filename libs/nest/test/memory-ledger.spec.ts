import { ReplayWindow } from '@sealwire/core';
import type { LedgerSession, ResolvedOptions } from '@sealwire/nest/ports';
import { describe, expect, it } from 'vitest';
import { MemoryLedger, SessionResults } from '../src/sessions/index.js';
import { primitives } from './support.js';

const digest = new Uint8Array(16);

function session(key: string, overrides: Partial<LedgerSession> = {}): LedgerSession {
  const id = new Uint8Array(16);
  return { id, key, lane: 7, incarnation: new Uint8Array(8), closed: [], firstCalls: undefined, ...overrides };
}

function ledgerOf(resultCache = {}): MemoryLedger {
  const whole = { entries: 10_000, bytes: 32 * 1_048_576, seconds: 120, ...resultCache };
  return new MemoryLedger({ resultCache: whole } as ResolvedOptions, primitives);
}

function run(ledger: MemoryLedger, of: LedgerSession, counter: number, bytes: number): void {
  const number = { lane: of.lane, counter };
  expect(ledger.accept(of, number, digest)).toEqual({ kind: 'accepted' });
  ledger.finish(of, number, digest, new Uint8Array(bytes));
}

const kept = async (ledger: MemoryLedger, of: LedgerSession, counter: number) =>
  (await ledger.recall(of, [{ number: { lane: of.lane, counter }, digest }]))[0]?.known;

describe('results that are kept', () => {
  it('of one session, or of many with much each, push out nobody with little', async () => {
    const ledger = ledgerOf();
    const honest = Array.from({ length: 100 }, (_, i) => session(`honest ${i}`));
    for (const one of honest) for (let i = 0; i < 4; i++) run(ledger, one, i, 5_000);
    const greedy = session('greedy');
    for (let i = 0; i < 40; i++) run(ledger, greedy, i, 1_048_576);
    for (let i = 0; i < 40; i++) run(ledger, session(`greedy ${i}`), 0, 1_048_576);
    for (const one of honest) for (let i = 0; i < 4; i++) expect(await kept(ledger, one, i)).toBe('result');
    expect(await kept(ledger, greedy, 0)).toBe('ran');
  });

  it('are bounded by number too, the oldest of whoever has most goes first', async () => {
    const ledger = ledgerOf({ entries: 100 });
    const [one, other] = [session('one'), session('other')];
    run(ledger, other, 0, 10);
    for (let i = 0; i < 1_000; i++) run(ledger, one, i, 10);
    expect(await kept(ledger, other, 0)).toBe('result');
    expect([await kept(ledger, one, 899), await kept(ledger, one, 999)]).toEqual(['ran', 'result']);
  });

  it('go with their session', async () => {
    const ledger = ledgerOf();
    const one = session('one');
    run(ledger, one, 0, 10);
    ledger.erase(one);
    expect(await kept(ledger, one, 0)).toBe('unknown');
  });
});

it('says that a number never ran of the lane that it closed, before any store has its window', async () => {
  const ledger = ledgerOf();
  const one = session('one');
  run(ledger, one, 3, 10);
  ledger.close(one);
  expect(await kept(ledger, one, 4)).toBe('never_ran');
  expect(ledger.accept(one, { lane: 7, counter: 5 }, digest)).toEqual({ kind: 'lane_moved' });
  // it goes on in another lane
  const next = session('one', { lane: 8 });
  run(ledger, next, 0, 10);
  expect(ledger.accept(one, { lane: 7, counter: 6 }, digest)).toEqual({ kind: 'lane_moved' });
  expect(await kept(ledger, one, 3)).toBe('result');
});

/** Repeatable: the same numbers for the same seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

it.each([1, 2, 3, 4])('takes each counter once, in whatever order they come, as a window does (seed %i)', (seed) => {
  const random = randomOf(seed);
  const ledger = ledgerOf();
  const one = session('one');
  const window = new ReplayWindow();
  const straight = seed % 2 === 0 ? 5_000 : random(100);
  for (let i = 0; i < 5_500; i++) {
    const counter = i < straight ? i : Math.max(0, i - 20 + random(40));
    const { kind } = ledger.accept(one, { lane: 7, counter }, digest);
    const verdict = window.accept(counter);
    expect(kind).toBe(verdict === 'fresh' ? 'accepted' : verdict === 'seen' ? 'running' : 'too_old');
  }
  expect(ledger.close(one)).toEqual(window.toBytes());
});

it.each([1, 2, 3])('keeps of a session what it was given, until it drops the oldest (seed %i)', (seed) => {
  const random = randomOf(seed);
  const results = new SessionResults();
  const model: { lane: number; place: number; digest: Uint8Array; frame: Uint8Array }[] = [];
  for (let i = 0; i < 1_500; i++) {
    if (random(3) > 0) {
      const frame = primitives.random(random(10) === 0 ? 1_000 + random(2_000) : random(400));
      const one = { lane: random(3), place: Math.imul(i, 0x9e3779b1), digest: primitives.random(16), frame };
      results.add(one.lane, one.place, one, i);
      model.push(one);
    } else if (random(4) > 0 || i > 1_200) {
      results.dropOldest();
      const gone = model.shift();
      if (gone) expect(results.get(gone.lane, gone.place)).toBeUndefined();
    }
    expect(results.oldest()?.length).toBe(model[0]?.frame.length);
    // the index is made in the middle of it
    const asked = i > 500 ? model[random(model.length)] : undefined;
    if (asked) expect(results.get(asked.lane, asked.place)).toEqual({ digest: asked.digest, frame: asked.frame });
  }
  while (model.shift()) results.dropOldest();
  expect(results.oldest()).toBeUndefined();
});

it('takes numbers in linear time whatever they are', () => {
  // these share the low bits of the runtime's own hash, which has no secret
  const colliding = Array.from({ length: 2 ** 22 }, (_, i) => i)
    .filter((i) => (integerHash(i) & 0x3fff) === 0)
    .slice(0, 200);
  expect(colliding.length).toBeGreaterThan(100);
  const ledger = ledgerOf();
  const one = session('one');
  for (const counter of colliding) expect(ledger.accept(one, { lane: 7, counter }, digest).kind).not.toBe('running');
  const { placeOf } = ledger as unknown as { placeOf(counter: number): number };
  const places = colliding.map((counter) => integerHash(placeOf.call(ledger, counter)) & 0x3fff);
  expect(new Set(places).size).toBeGreaterThan(colliding.length * 0.9);
});

/** V8's ComputeUnseededHash. */
function integerHash(key: number): number {
  let hash = key | 0;
  hash = (~hash + (hash << 15)) | 0;
  hash ^= hash >>> 12;
  hash = (hash + (hash << 2)) | 0;
  hash ^= hash >>> 4;
  hash = Math.imul(hash, 2057);
  hash ^= hash >>> 16;
  return hash & 0x3fffffff;
}
