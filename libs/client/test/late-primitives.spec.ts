import { StreamBody } from '@sealwire/client';
import type { ClientPrimitives, RemoteFile } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { LivePeerServer } from '../../../test/support/peer/live-server.js';
import { PeerServer, refused } from '../../../test/support/peer/server.js';
import { collect, type LiveNetwork, openedLive } from './support/live.js';
import { connect } from './support/remote.js';

type Operation = 'x25519KeyPair' | 'x25519' | 'kemKeyPair' | 'kemDecapsulate' | 'seal' | 'open';
const OPERATIONS: Operation[] = ['x25519KeyPair', 'x25519', 'kemKeyPair', 'kemDecapsulate', 'seal', 'open'];

/** Node's, but each operation that may be late is: it reads its input only then. */
function late() {
  const control = {
    /** operations that have begun */
    begun: [] as Operation[],
    running: new Map<Operation, number>(),
    most: 0,
    /** keeps an operation from going on as long as it is pending */
    hold: (_operation: Operation): Promise<unknown> | undefined => undefined,
  };
  const primitives = { ...nodePrimitives } as ClientPrimitives;
  for (const name of OPERATIONS) {
    const operation = nodePrimitives[name] as (...parameters: unknown[]) => unknown;
    Object.assign(primitives, {
      [name]: async (...parameters: unknown[]) => {
        control.begun.push(name);
        const now = (control.running.get(name) ?? 0) + 1;
        control.running.set(name, now);
        if (name === 'open') control.most = Math.max(control.most, now);
        await (control.hold(name) ?? new Promise(setImmediate));
        control.running.set(name, (control.running.get(name) ?? 0) - 1);
        return operation(...parameters);
      },
    });
  }
  return { primitives, control };
}

function gate() {
  let open!: () => void;
  const wait = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { wait, open };
}

describe('primitives that return promises', () => {
  it('serve calls, batches and new epochs', async () => {
    const server = new PeerServer();
    const { primitives } = late();
    const remote = connect(server, { primitives, tuning: { callsPerEpoch: 2 } });
    expect(await remote.add(1, 2)).toBe(3);
    const large = new Uint8Array(300_000).fill(5);
    expect(Buffer.compare((await remote.echo(large)) as Uint8Array, large)).toBe(0);
    const all = await remote.$batch((r) => [r.add(1, 1), r.add(2, 2)]);
    expect(all.map((one) => one.status === 'fulfilled' && one.value)).toEqual([2, 4]);
    for (let i = 0; i < 10; i++) expect(await remote.add(i, 1)).toBe(i + 1);
    expect(server.count('finish')).toBe(1);
  });

  it('leave no pulse behind of an upload that is given up while a piece is being sealed', async () => {
    const timers = vi.spyOn(globalThis, 'setTimeout');
    onTestFinished(() => timers.mockRestore());
    const server = new LivePeerServer();
    server.pulse = 1;
    const { primitives, control } = late();
    // one that takes pieces also of a body that was cancelled
    const network: LiveNetwork = ({ body }, next) => {
      if (!(body instanceof StreamBody)) return next();
      body.pipe(() => {}).catch(() => {});
      return new Promise(() => {});
    };
    const { remote } = await openedLive({ server, primitives, network });
    const giving = new AbortController();
    const [sealing, holding] = [gate(), gate()];
    async function* items() {
      control.hold = (operation) => {
        if (operation !== 'seal') return undefined;
        sealing.open();
        return holding.wait;
      };
      yield 1;
      await new Promise(() => {});
    }
    const call = remote.$call({ signal: giving.signal }).drain(items());
    await sealing.wait;
    giving.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
    holding.open();
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    const holdsProcess = timers.mock.results.map(({ value }) => value.hasRef());
    expect(timers.mock.calls.filter(([, ms = 0], i) => ms > 500 && ms < 1_500 && holdsProcess[i])).toEqual([]);
  });

  it('serve streams in both directions', async () => {
    const server = new LivePeerServer();
    server.maxUpload = 1_000_000;
    const { remote } = await openedLive({ server, primitives: late().primitives });
    server.live.twice = ({ call }) =>
      (async function* () {
        for await (const item of call.args[0] as AsyncIterable<number>) yield 2 * item;
      })();
    server.live.length = async ({ call }) => {
      let length = 0;
      for await (const bytes of (call.args[0] as RemoteFile).stream()) length += bytes.length;
      return length;
    };
    async function* items() {
      for (let i = 0; i < 20; i++) yield i;
    }
    expect(await collect(await remote.twice(items()))).toEqual(Array.from({ length: 20 }, (_, i) => 2 * i));
    expect(await remote.length(new Blob([new Uint8Array(300_000)]))).toBe(300_000);
  });

  it('let each call have its number when it is made', async () => {
    const server = new PeerServer();
    const { primitives, control } = late();
    const remote = connect(server, { primitives });
    await remote.add(0, 0);
    const first = gate();
    let seals = 0;
    control.hold = (operation) => (operation === 'seal' && seals++ === 0 ? first.wait : undefined);
    const slow = remote.add(1, 1);
    expect(await remote.add(2, 2)).toBe(4);
    first.open();
    expect(await slow).toBe(2);
    const counters = server.seen.filter(({ kind }) => kind === 'call').map(({ frame }) => frame[27]);
    expect(counters).toEqual([2, 1]);
  });

  it('open the answers to one step one after the other, a forged one first', async () => {
    const server = new PeerServer();
    const { primitives, control } = late();
    const both = gate();
    let starts = 0;
    const remote = connect(server, {
      primitives,
      connectTimeout: 50,
      network: async (_request, next, kind) => {
        const answer = await next();
        if (kind !== 'start') return answer;
        if (starts++ === 0) {
          await both.wait;
          const body = (answer.body as Uint8Array).slice();
          body[body.length - 1] = (body[body.length - 1] ?? 0) ^ 1;
          return { ...answer, body };
        }
        both.open();
        return answer;
      },
    });
    expect(await remote.add(1, 2)).toBe(3);
    expect(starts).toBe(2);
    expect(control.most).toBe(1);
  });

  it('send no step 3 with a call that was given up while it was sealed', async () => {
    const server = new PeerServer();
    const { primitives, control } = late();
    const sealing = gate();
    let seals = 0;
    // the first one is that of step 1
    control.hold = (operation) => (operation === 'seal' && ++seals === 2 ? sealing.wait : undefined);
    const remote = connect(server, { primitives });
    const giveUp = new AbortController();
    const dropped = remote.$call({ signal: giveUp.signal }).add(1, 1);
    const kept = remote.add(2, 2);
    await vi.waitFor(() => expect(seals).toBe(2));
    giveUp.abort(new Error('not wanted'));
    await expect(dropped).rejects.toThrow('not wanted');
    sealing.open();
    expect(await kept).toBe(4);
    expect(server.runs.map(({ args }) => args)).toEqual([[2, 2]]);
    expect(server.count('finish')).toBe(1);
  });

  it('let a renewal ask about a call that is still being sealed', async () => {
    const server = new PeerServer();
    const { primitives, control } = late();
    let refuse = false;
    const remote = connect(server, {
      primitives,
      network: (_request, next, kind) => {
        if (kind !== 'call' || !refuse) return next();
        refuse = false;
        return Promise.resolve(refused('session_unknown'));
      },
    });
    await remote.add(0, 0);
    const first = gate();
    let held = false;
    control.hold = (operation) => {
      if (operation !== 'seal' || held) return undefined;
      held = true;
      return first.wait;
    };
    refuse = true;
    const slow = remote.add(1, 1);
    const other = remote.add(2, 2);
    await vi.waitFor(() => expect(server.count('start')).toBe(2));
    first.open();
    expect(await Promise.all([slow, other])).toEqual([2, 4]);
    expect(server.runs.filter(({ args }) => args[0] === 1)).toHaveLength(1);
  });

  it('harm nothing when the remote is closed while an answer is opened', async () => {
    const server = new PeerServer();
    const { primitives, control } = late();
    const remote = connect(server, { primitives });
    await remote.add(0, 0);
    const opening = gate();
    control.hold = (operation) => (operation === 'open' ? opening.wait : undefined);
    const call = remote.add(1, 1);
    await vi.waitFor(() => expect(control.running.get('open')).toBe(1));
    remote.$close();
    await expect(call).rejects.toMatchObject({ code: 'closed' });
    opening.open();
    await vi.waitFor(() => expect(control.running.get('open')).toBe(0));
  });

  it('end a call that cannot be sealed, and no other', async () => {
    const server = new PeerServer();
    const { primitives, control } = late();
    const remote = connect(server, { primitives });
    await remote.add(0, 0);
    control.hold = (operation) => (operation === 'seal' ? Promise.reject(new Error('no memory')) : undefined);
    await expect(remote.add(1, 1)).rejects.toThrow();
    control.hold = () => undefined;
    expect(await remote.add(2, 2)).toBe(4);
    expect(server.runs.some(({ args }) => args[0] === 1)).toBe(false);
  });
});

describe('$prewarm', () => {
  it('makes the key pairs of the first handshake beforehand, once, and sends nothing', async () => {
    const server = new PeerServer();
    const { primitives, control } = late();
    const prepare = vi.fn(async () => {});
    const remote = connect(server, { primitives: { ...primitives, prepare } });
    await Promise.all([remote.$prewarm(), remote.$prewarm()]);
    expect(server.seen).toEqual([]);
    expect(prepare).toHaveBeenCalled();
    const pairs = () => control.begun.filter((operation) => operation.endsWith('KeyPair')).length;
    expect(pairs()).toBe(2);
    expect(await remote.add(1, 2)).toBe(3);
    expect(pairs()).toBe(2);
    await remote.$prewarm();
    expect(pairs()).toBe(2);
  });

  it('lets the handshake tell what is wrong, and does nothing once the remote is closed', async () => {
    const server = new PeerServer();
    const { primitives, control } = late();
    let broken = true;
    control.hold = (operation) =>
      operation === 'kemKeyPair' && broken ? Promise.reject(new Error('the module was not loaded')) : undefined;
    const remote = connect(server, { primitives });
    await remote.$prewarm();
    broken = false;
    expect(await remote.add(1, 2)).toBe(3);
    remote.$close();
    const { length } = control.begun;
    await remote.$prewarm();
    expect(control.begun).toHaveLength(length);
  });
});
