import { createHash } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  createRemote,
  fetchTransport,
  type RemoteFile,
  StreamBody,
  type Transport,
  type TransportRequest,
  type WriteParts,
} from '@sealwire/client';
import { httpTransport } from '@sealwire/client/http';
import { undiciTransport } from '@sealwire/client/undici';
import type { ClientPrimitives } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { describe, expect, it, onTestFinished } from 'vitest';
import { LivePeerServer } from '../../../test/support/peer/live-server.js';
import { type Any, openedLive } from './support/live.js';
import { liveHttp } from './support/live-http.js';
import { gate } from './support/remote.js';

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const random = () => crypto.getRandomValues(new Uint8Array(65_000));
const long = () => Buffer.concat(Array.from({ length: 5 }, random));

/** Digests of the files that its function `store` was sent. */
function storing(): LivePeerServer {
  const server = new LivePeerServer();
  server.live.store = (_context, ...files: RemoteFile[]) =>
    Promise.all(files.map(async (file) => digest(await file.bytes())));
  return server;
}

/** Stops the first body behind its first piece. It is cancelled when the second one has begun, which waits for that. */
function overlapping(inner: Transport): Transport {
  const [second, over] = [gate(), gate()];
  let cancel: (() => void) | undefined;
  const stopping =
    (body: StreamBody, begun = () => {}) =>
    (write: WriteParts) => {
      begun();
      return body.pipe(async (parts) => {
        await write(parts);
        await over.passed;
      });
    };
  const wrapped = (body: StreamBody): StreamBody => {
    // undici cancels a body with its next piece, and nobody can tell when
    if (cancel) return new StreamBody(stopping(body, inner.uploadProgress ? second.open : cancel), body.cancel);
    cancel = () => {
      body.cancel(new Error('its connection is gone'));
      over.open();
    };
    return new StreamBody(stopping(body), () => void second.passed.then(cancel));
  };
  return {
    ...inner,
    send: ({ body, ...request }) => inner.send({ ...request, body: body instanceof StreamBody ? wrapped(body) : body }),
  };
}

const once =
  (run: () => Any): (() => Any) =>
  () => {
    const first = run;
    run = () => undefined;
    return first();
  };

const fails = (code: string, details?: object) => Object.assign(new Error(code), { code, details });

/** A guard of `store` that wants other metadata. */
function guarded(server: LivePeerServer): LivePeerServer {
  const { store } = server.live;
  server.live.store = (context, ...files) => {
    if (context.call.metadata?.authorization === 'new') return store?.(context, ...files);
    throw fails('unauthorized', { status: 401, ran: false });
  };
  return server;
}
const login = { metadata: { authorization: 'old' }, refresh: () => ({ authorization: 'new' }) };

const WAYS: [string, (server: LivePeerServer, cut: () => unknown) => void][] = [
  ['a guard refused it', guarded],
  [
    'it was rolled back',
    (server) => {
      const { store } = server.live;
      const refused = once(() => fails('unavailable'));
      server.live.store = (context, ...files) => {
        const error = refused();
        if (error) throw error;
        return store?.(context, ...files);
      };
    },
  ],
  ...(['busy', 'result_gone', 'number_conflict', 'session_ended'] as const).map((status): (typeof WAYS)[number] => [
    `the server said ${status}`,
    (server) => {
      server.onCall = once(() => ({ status }));
    },
  ]),
  [
    'its connection was lost',
    (server, cut) => {
      server.onCall = once(() => {
        cut();
        return 'busy';
      });
    },
  ],
];

describe.each([
  ['httpTransport', httpTransport],
  ['undiciTransport', undiciTransport],
  ['fetchTransport', fetchTransport],
])('%s sends whole what can be read again, while its first body is still leaving,', (_name, make) => {
  it.each(WAYS)('after %s', async (_way, prepare) => {
    const server = storing();
    const { url, cut, keys } = await liveHttp(server);
    const remote = createRemote<Any>({ url, ...keys, ...login, transport: overlapping(make()) });
    onTestFinished(() => remote.$close());
    await remote.add(0, 0);
    prepare(server, cut);
    const folder = await mkdtemp(join(tmpdir(), 'sealwire-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const contents = [long(), long(), long()];
    const [a, b, c] = contents as [Buffer, Buffer, Buffer];
    await writeFile(join(folder, 'c'), c);
    const files = [new Blob([a]), new File([b], 'b'), await openAsBlob(join(folder, 'c'))];
    expect(await remote.store(...files)).toEqual(contents.map(digest));
  });
});

/** A Blob whose first reading waits until then. */
function held(bytes: Buffer, until: Promise<unknown>, begun: () => void): Blob {
  let wait: Promise<unknown> | undefined = until;
  class Held extends Blob {
    override slice(...range: Parameters<Blob['slice']>): Blob {
      const slice = super.slice(...range);
      const waiting = wait;
      if (waiting) Object.assign(slice, { arrayBuffer: () => waiting.then(() => super.slice(...range).arrayBuffer()) });
      wait = undefined;
      begun();
      return slice;
    }
  }
  return new Held([bytes]);
}

it.each([
  ['at once', nodePrimitives],
  [
    'later',
    {
      ...nodePrimitives,
      seal: async (...given: Parameters<ClientPrimitives['seal']>) => nodePrimitives.seal(...given),
    } as ClientPrimitives,
  ],
])(
  'drops a body that a browser was still collecting when a renewal had the call sent anew, sealed %s',
  async (_when, primitives) => {
    const server = storing();
    const bodies: Blob[] = [];
    const send = (request: TransportRequest) => {
      if (request.body instanceof Blob) bodies.push(request.body);
      return server.answer(request);
    };
    const { remote } = await openedLive({ server, primitives, transport: { send } });
    const [reading, resumed] = [gate(), gate()];
    const bytes = long();
    const call = remote.store(held(bytes, resumed.passed, reading.open));
    await reading.passed;
    server.onCall = once(() => ({ status: 'session_ended' }));
    expect(await remote.add(1, 2)).toBe(3);
    resumed.open();
    expect(await call).toEqual([digest(bytes)]);
    expect(bodies).toHaveLength(1);
  },
);

it('has the time of a slow line again with new metadata, if nobody sees it leave', async () => {
  const server = guarded(storing());
  let bodies = 0;
  const send = async (request: TransportRequest) => {
    if (request.body instanceof Blob && ++bodies === 2) await new Promise((resolve) => setTimeout(resolve, 3_000));
    return server.answer(request);
  };
  const { remote } = await openedLive({ server, ...login, transport: { send }, timeout: 2_000 });
  const bytes = long();
  expect(await remote.store(new Blob([bytes]))).toEqual([digest(bytes)]);
});

it('tells how far its second sending is, whatever still leaves of the first', async () => {
  const server = guarded(storing());
  const told: ((bytes: number) => void)[] = [];
  const send = async (request: TransportRequest) => {
    const { body, onUpload } = request;
    if (body instanceof StreamBody) told.push(onUpload as (bytes: number) => void);
    told.at(-1)?.(told.length);
    if (told.length === 2) told[0]?.(1_000);
    return server.answer(request);
  };
  const transport = { requestStreams: true, uploadProgress: true, send };
  const { remote } = await openedLive({ server, ...login, transport });
  const up: number[] = [];
  await remote.$call({ onProgress: (progress: Any) => up.push(progress.up) }).store(new Blob([long()]));
  expect([...new Set(up)]).toEqual([1, 2]);
});
