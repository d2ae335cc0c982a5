import 'reflect-metadata';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type INestApplication, Injectable } from '@nestjs/common';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { CONTENT_TYPE } from '@sealwire/core';
import { RemoteFunction, RemoteFunctions } from '@sealwire/nest';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Slow, startStreams } from './streams-application.js';
import { only } from './support.js';

@RemoteFunctions('live')
@Injectable()
class Long extends Slow {
  @RemoteFunction()
  long(): Uint8Array {
    return new Uint8Array(30_000_000);
  }
}

async function start(platform: string) {
  const { app, client } = await startStreams({
    functions: Long,
    options: { maxBody: 1_000_000 },
    create: (testing) =>
      platform === 'Fastify'
        ? testing.createNestApplication(new FastifyAdapter() as never)
        : testing.createNestApplication(),
  });
  return { app, client };
}

async function opened(app: INestApplication): Promise<Socket> {
  const socket = connect(app.getHttpServer().address().port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  socket.on('error', () => undefined);
  await Promise.all([once(socket, 'connect'), once(app.getHttpServer(), 'connection')]);
  return socket;
}

/** Milliseconds that it takes. */
async function closing(app: INestApplication): Promise<number> {
  const before = performance.now();
  await app.close();
  return performance.now() - before;
}

const head = (length: number) =>
  `POST /remote/live HTTP/1.1\r\nHost: x\r\nContent-Type: ${CONTENT_TYPE}\r\nContent-Length: ${length}\r\n\r\n`;

describe.each(['Express', 'Fastify'])('on %s', (platform) => {
  it.each([
    ['nothing', ''],
    ['half a head', 'POST /remote/live HTTP/1.1\r\nHost: x\r\n'],
  ])('a connection that sent %s keeps no server from stopping', async (_, sent) => {
    const { app } = await start(platform);
    const socket = await opened(app);
    if (sent) await new Promise((done) => socket.write(sent, done));
    expect(await closing(app)).toBeLessThan(3_000);
  });

  it('answers that nobody reads keep no server from stopping', async () => {
    const { app } = await start(platform);
    const socket = await opened(app);
    socket.pause();
    const many = `${head(3)}abc`.repeat(1_000);
    for (let i = 0; i < 200; i++) socket.write(many);
    // the server reads no more of it, and has stopped inside of a request
    let [left, looks] = [-1, 0];
    await vi.waitFor(() => {
      looks = left === socket.writableLength ? looks + 1 : 0;
      left = socket.writableLength;
      expect([left > 0, looks > 9]).toEqual([true, true]);
    }, 10_000);
    expect(await closing(app)).toBeLessThan(8_000);
  });

  it('a call that runs is answered, and whoever reads a long answer slowly gets all of it', async () => {
    const { app, client } = await start(platform);
    const peer = await client();
    const slow = app.get(Long);
    const running = peer.send(peer.frame([{ name: 'wait', args: [] }]));
    await vi.waitFor(() => expect(slow.begun).toBe(1));
    const frame = peer.frame([{ name: 'long', args: [] }]);
    const reader = await opened(app);
    reader.write(Buffer.concat([Buffer.from(head(frame.length)), frame]));
    let length = 0;
    const slowly = (async () => {
      for await (const part of reader) {
        length += part.length;
        if (length < 8_000_000) await new Promise((resolve) => setTimeout(resolve, 10));
      }
    })();
    await vi.waitFor(() => expect(length).toBeGreaterThan(0));
    const closed = app.close();
    await slowly;
    expect(length).toBeGreaterThan(30_000_000);
    slow.go();
    expect(only(await running)).toBe('done');
    await closed;
  });
});
