import type {
  BodyReader,
  CallOptions,
  Remote,
  RemoteOptions,
  TransportRequest,
  TransportResponse,
} from '@sealwire/client';
import { nodePrimitives } from '@sealwire/core/node';
import { onTestFinished } from 'vitest';
import { LivePeerServer } from '../../../../test/support/peer/live-server.js';
import { createTestRemote, loopbackTransport, type Tuning } from '../../src/testing/index.js';

// biome-ignore lint/suspicious/noExplicitAny: the functions of a peer are what each test makes them
export type Any = any;
export type AnyApi = Record<string, (...args: Any[]) => Promise<Any>>;

export type LiveNetwork = (
  request: TransportRequest,
  next: () => Promise<TransportResponse>,
) => Promise<TransportResponse>;

/** A remote with an open session at a peer that streams. */
export async function openedLive(
  options: Partial<RemoteOptions> & { network?: LiveNetwork; tuning?: Partial<Tuning>; server?: LivePeerServer } = {},
) {
  const { server = new LivePeerServer(), network = (_request, next) => next(), tuning = {}, ...rest } = options;
  const inner = loopbackTransport((request) => network(request, () => server.answer(request)));
  const remote = createTestRemote<AnyApi>(
    {
      url: 'http://localhost/remote/payments',
      serverKey: server.serverKeyText,
      secureKey: server.secureKeyText,
      primitives: nodePrimitives,
      transport: inner,
      ...rest,
    },
    tuning,
  ) as unknown as Remote<Any> & { $call(options: CallOptions): Any };
  onTestFinished(() => remote.$close());
  await remote.add(0, 0);
  server.seen.length = 0;
  server.runs.length = 0;
  return { server, remote };
}

/** The same answer, each part of whose body is read by that. */
export function readBy(
  response: TransportResponse,
  read: (body: BodyReader) => ReturnType<BodyReader['read']>,
): TransportResponse {
  const { body } = response;
  if (body instanceof Uint8Array) return response;
  return { ...response, body: { read: () => read(body), cancel: (reason) => body.cancel(reason) } };
}

/** Ends a body without a word after so many bytes. */
export function cutAfter(response: TransportResponse, bytes: number): TransportResponse {
  if (response.body instanceof Uint8Array) return response;
  const reader = response.body;
  let left = bytes;
  const cut: BodyReader = {
    async read() {
      if (left <= 0) {
        await reader.cancel(new Error('cut'));
        throw new Error('connection reset');
      }
      const { done, value } = await reader.read();
      if (done || !value) return { done: true };
      const part = value.subarray(0, left);
      left -= part.length;
      return { done: false, value: part };
    },
    cancel: (reason) => reader.cancel(reason),
  };
  return { ...response, body: cut };
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
