import 'reflect-metadata';
import { once } from 'node:events';
import { connect } from 'node:net';
import { Injectable } from '@nestjs/common';
import { CONTENT_TYPE } from '@sealwire/core';
import { RemoteFunction, RemoteFunctions, RemoteSignal } from '@sealwire/nest';
import { expect, it, vi } from 'vitest';
import { Down, startStreams } from './streams-application.js';

let [begun, aborted] = [0, 0];

@RemoteFunctions('live')
@Injectable()
class Patient {
  @RemoteFunction()
  async wait(@RemoteSignal() signal: AbortSignal): Promise<void> {
    begun += 1;
    await once(signal, 'abort');
    aborted += 1;
  }
}

const posted = (frame: Uint8Array): Buffer => {
  const head = [
    'POST /remote/live HTTP/1.1',
    'Host: x',
    `Content-Type: ${CONTENT_TYPE}`,
    `Content-Length: ${frame.length}`,
  ];
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), frame]);
};

it.each(['before', 'through'])(
  'calls that wait behind others on one connection end with it, %s Express',
  async (way) => {
    [begun, aborted] = [0, 0];
    const { watch, client } = await startStreams({
      functions: [Down, Patient],
      options: { abandonAfter: 10 },
      prepare: (app) => way === 'through' && app.use((_: unknown, __: unknown, next: () => void) => next()),
    });
    const peer = await client();
    const names = ['endless', 'endless', ...Array<string>(12).fill('wait')];
    const frames = names.map((name) => posted(peer.frame([{ name, args: [] }])));
    const socket = connect(Number(new URL(peer.url).port), '127.0.0.1');
    socket.write(Buffer.concat(frames));
    await vi.waitFor(() => expect([begun, watch.yielded > 2_000]).toEqual([12, true]));
    socket.destroy();
    await vi.waitFor(() => expect([watch.closed, aborted]).toEqual([2, 12]));
  },
);
