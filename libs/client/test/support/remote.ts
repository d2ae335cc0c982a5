import type { RemoteOptions, TransportRequest, TransportResponse } from '@sealwire/client';
import { createTestRemote, loopbackTransport, type Tuning } from '@sealwire/client/testing';
import { CONTENT_TYPE, frameType } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { onTestFinished, vi } from 'vitest';
import type { PeerServer } from '../../../../test/support/peer/server.js';

export interface Api {
  echo<T>(value: T): Promise<T>;
  add(a: number, b: number): Promise<number>;
  fail(): Promise<never>;
  slow(): Promise<string>;
  missing(): Promise<void>;
}

export type Kind = ReturnType<typeof frameType>;
type Answer = TransportResponse | Promise<TransportResponse>;

/** What these tests send is complete bytes, and so is what they are answered. */
type Whole<T> = T & { readonly body: Uint8Array };

/** What the network does to a request; `next` is the server. */
export type Network = (
  request: Whole<TransportRequest>,
  next: () => Promise<Whole<TransportResponse>>,
  kind: Kind,
) => Answer;

export function connect(
  server: PeerServer,
  options: Partial<RemoteOptions> & { network?: Network; tuning?: Partial<Tuning> } = {},
) {
  const { network = (_request, next) => next(), tuning = {}, ...rest } = options;
  const transport = loopbackTransport((sent) => {
    const request = sent as Whole<TransportRequest>;
    return network(
      request,
      () => server.handle(request),
      request.contentType === CONTENT_TYPE ? frameType(request.body) : undefined,
    );
  });
  const remote = createTestRemote<Api>(
    {
      url: 'http://localhost/remote/payments',
      serverKey: server.serverKeyText,
      secureKey: server.secureKeyText,
      primitives: nodePrimitives,
      transport,
      ...rest,
    },
    tuning,
  );
  onTestFinished(() => remote.$close());
  return remote;
}

/** A remote with an open session, of which the server has seen nothing yet. */
export async function opened(server: PeerServer, network?: Network) {
  const remote = connect(server, network ? { network } : {});
  await remote.add(0, 0);
  server.runs.length = 0;
  server.seen.length = 0;
  return remote;
}

/** A promise settled from outside. */
export function gate<T = void>() {
  let open!: (value: T) => void;
  const passed = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { open, passed };
}

/** Until the test is over. */
export function useFakeTimers(): void {
  vi.useFakeTimers();
  onTestFinished(() => {
    vi.useRealTimers();
  });
}
