// One of the clients that the benchmark compares, in a process of its own. Told over IPC to call.
import { createRemote, fetchTransport, type Transport } from '@sealwire/client';
import { httpTransport } from '@sealwire/client/http';
import { undiciTransport } from '@sealwire/client/undici';
import { createTRPCClient, httpLink } from '@trpc/client';
import { payloadOf } from './payload.js';
import { answerQuestions } from './questions.js';
import type { TrpcRouter } from './servers/trpc.js';

const { BENCH_CLIENT = '', BENCH_URL: url = '', BENCH_KEYS = '{}' } = process.env;
type Echo = (value: unknown) => Promise<unknown>;

const CLIENTS: Readonly<Record<string, () => Echo>> = {
  sealwire: () => sealed(undefined),
  sealwireFetch: () => sealed(fetchTransport()),
  sealwireHttp: () => sealed(httpTransport()),
  sealwireUndici: () => sealed(undiciTransport()),
  trpc() {
    const client = createTRPCClient<TrpcRouter>({ links: [httpLink({ url })] });
    return (value) => client.echo.mutate(value);
  },
  fetch() {
    return async (value) => {
      const headers = { 'content-type': 'application/json' };
      const answer = await fetch(`${url}/json/echo`, { method: 'POST', headers, body: JSON.stringify(value) });
      return answer.json();
    };
  },
};

function sealed(transport: Transport | undefined): Echo {
  const options = { url: `${url}/remote/bench`, ...JSON.parse(BENCH_KEYS), ...(transport && { transport }) };
  const remote = createRemote<{ echo: Echo }>(options);
  return (value) => remote.echo(value);
}

const echo = CLIENTS[BENCH_CLIENT]?.();
if (!echo) throw new Error(`there is no client '${BENCH_CLIENT}'`);

/** @returns milliseconds that it took */
async function call(size: number, parallel: number, count: number): Promise<number> {
  const value = payloadOf(size);
  let left = count;
  const started = performance.now();
  const worker = async () => {
    while (left-- > 0) await echo?.(value);
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return performance.now() - started;
}

answerQuestions({ call });
process.send?.({ port: 0 });
