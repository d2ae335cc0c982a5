import 'reflect-metadata';
import { type ClientRequest, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { CONTENT_TYPE } from '@sealwire/core';
import { expect, it, onTestFinished, vi } from 'vitest';
import { Slow, startStreams } from './streams-application.js';
import { only, type PeerClient } from './support.js';

/** How many copies of one call wait for its result. */
const WAITING = 8;

async function start() {
  const { app, client } = await startStreams({ functions: Slow });
  const peer = await client();
  const frame = peer.frame([{ name: 'wait', args: [] }]);
  const slow = app.get(Slow);
  onTestFinished(() => slow.go());
  const result = peer.send(frame);
  await vi.waitFor(() => expect(slow.begun).toBe(1));
  return { peer, frame, slow, result, taken: takenBy(app.getHttpServer()) };
}

/** How many requests a server has been given, once that many have come. */
function takenBy(server: { on(event: 'request', listener: () => void): unknown }) {
  let taken = 0;
  server.on('request', () => {
    taken += 1;
  });
  return (count: number) => vi.waitFor(() => expect(taken).toBe(count));
}

/** A request with a recorded frame, and what it is answered. */
function copy(peer: PeerClient, frame: Uint8Array): { request: ClientRequest; answer: Promise<unknown> } {
  let request!: ClientRequest;
  const answer = new Promise((resolve) => {
    const headers = { 'content-type': CONTENT_TYPE, 'content-length': frame.length };
    request = httpRequest(peer.url, { method: 'POST', headers, agent: false }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk);
      resolve(peer.open(frame, new Uint8Array(Buffer.concat(chunks))));
    });
    request.on('error', () => resolve(undefined));
    request.end(frame);
  });
  return { request, answer };
}

const copies = (count: number, peer: PeerClient, frame: Uint8Array) =>
  Array.from({ length: count }, () => copy(peer, frame));

it('copies of a call that runs wait in a small number, and those whose connection closes wait no longer', async () => {
  const { peer, frame, slow, result, taken } = await start();
  const left = copies(WAITING, peer, frame);
  await taken(WAITING);
  expect(await copy(peer, frame).answer).toEqual({ status: 'running' });
  const closed = left.map(({ request }) => new Promise((resolve) => request.once('close', resolve)));
  for (const { request } of left) request.destroy();
  await Promise.all(closed);
  // their places are free as soon as the server has heard of it
  const waiting: ReturnType<typeof copies> = [];
  await vi.waitFor(async () => {
    const one = copy(peer, frame);
    const told = await Promise.race([one.answer, new Promise((resolve) => setTimeout(resolve, 100, 'waits'))]);
    if (told === 'waits') waiting.push(one);
    expect(waiting).toHaveLength(WAITING);
  }, 10_000);
  expect(await copy(peer, frame).answer).toEqual({ status: 'running' });
  slow.go();
  expect(only((await result) as never)).toBe('done');
  for (const { answer } of waiting) expect(only((await answer) as never)).toBe('done');
  expect(slow.begun).toBe(1);
});

it('copies on one connection are read no further than their answers are', async () => {
  const { peer, frame, slow, result, taken } = await start();
  copies(WAITING, peer, frame);
  await taken(WAITING);
  const head = `POST /remote/live HTTP/1.1\r\nHost: x\r\nContent-Type: ${CONTENT_TYPE}\r\nContent-Length: ${frame.length}\r\n\r\n`;
  const one = Buffer.concat([Buffer.from(head), frame]);
  const socket = connect(Number(new URL(peer.url).port), '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  const many = Buffer.concat(Array<Buffer>(500).fill(one));
  for (let i = 0; i < 100; i++) socket.write(many);
  expect(await copy(peer, frame).answer).toEqual({ status: 'running' });
  // what the system holds of a connection is far less
  expect(socket.writableLength).toBeGreaterThan(many.length * 20);
  slow.go();
  expect(only((await result) as never)).toBe('done');
});
