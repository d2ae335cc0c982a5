// The reading and sending side of the rows of streams, in a process of its own. Told over IPC what to do.
import { createRemote, type RemoteApi } from '@sealwire/client';
import { answerQuestions } from './questions.js';
import type { StreamingController } from './servers/streaming.js';

const { BENCH_URL: url = '', BENCH_KEYS = '{}' } = process.env;
const PART = new Uint8Array(65_536).fill(7);
/** Each has a session of its own, as clients of subscriptions have. */
const SUBSCRIPTIONS_OF_ONE = 100;
const open = () =>
  createRemote<RemoteApi<StreamingController>>({ url: `${url}/remote/bench`, ...JSON.parse(BENCH_KEYS) });
const remote = open();
const held: unknown[] = [];

const questions = {
  async down(length: number): Promise<number> {
    return timed(length, (await remote.down(length)).stream());
  },
  async downPlain(length: number): Promise<number> {
    return timed(length, (await fetch(`${url}/streams/down/${length}`)).body);
  },
  async up(length: number): Promise<number> {
    const started = performance.now();
    same(await remote.$call({ timeout: MINUTES }).up(source(length)), length);
    return performance.now() - started;
  },
  async upPlain(length: number): Promise<number> {
    const started = performance.now();
    const headers = { 'content-type': 'application/octet-stream' };
    const init = { method: 'POST', headers, body: source(length), duplex: 'half' } as RequestInit;
    const answer = (await (await fetch(`${url}/streams/up`, init)).json()) as { length: number };
    same(answer.length, length);
    return performance.now() - started;
  },
  /** @returns milliseconds for so many items through each of so many streams at once */
  async items(count: number, streams: number): Promise<number> {
    const started = performance.now();
    const read = async () => {
      let seen = 0;
      for await (const { id } of await remote.items(count)) same(id, seen++);
      same(seen, count);
    };
    await Promise.all(Array.from({ length: streams }, read));
    return performance.now() - started;
  },
  /** @returns milliseconds until so many items came as a unary result, and until the first of a stream of them, in turn */
  async first(times: number, count: number): Promise<{ unary: number[]; first: number[] }> {
    const unary: number[] = [];
    const first: number[] = [];
    for (let i = 0; i < times; i++) {
      let started = performance.now();
      await (count === 1 ? remote.item(0) : remote.list(count));
      unary.push(performance.now() - started);
      started = performance.now();
      for await (const { id } of await remote.items(count)) if (id === 0) first.push(performance.now() - started);
    }
    return { unary, first };
  },
  async subscribe(count: number): Promise<void> {
    let subscriber = remote;
    for (let i = 0; i < count; i++) {
      if (i % SUBSCRIPTIONS_OF_ONE === 0) subscriber = open();
      const items = (await subscriber.idle())[Symbol.asyncIterator]();
      await items.next();
      held.push(items, items.next());
    }
  },
  async subscribePlain(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const { body } = await fetch(`${url}/streams/idle`);
      const reader = body?.getReader();
      await reader?.read();
      held.push(reader, reader?.read());
    }
  },
};

const MINUTES = 600_000;

function source(length: number): ReadableStream<Uint8Array> {
  let left = length;
  return new ReadableStream(
    {
      pull(controller) {
        if (left > 0) controller.enqueue(PART.slice(0, left));
        else controller.close();
        left -= PART.length;
      },
    },
    { highWaterMark: 0 },
  );
}

async function timed(length: number, bytes: ReadableStream<Uint8Array> | null): Promise<number> {
  const started = performance.now();
  let read = 0;
  for await (const part of bytes as ReadableStream<Uint8Array>) read += part.length;
  same(read, length);
  return performance.now() - started;
}

function same(got: number, wanted: number): void {
  if (got !== wanted) throw new Error(`${got} came instead of ${wanted}`);
}

answerQuestions(questions);
process.send?.({ port: 0 });
