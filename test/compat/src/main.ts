import { deepStrictEqual as same } from 'node:assert';
import { fetchTransport, type Remote, RemoteError, type Transport } from '@sealwire/client';
import { SealwireSessions } from '@sealwire/nest';
import { DataSource } from 'typeorm';
import { type Api, start } from './app';
import { Payment } from './payment.entity';
import { seen } from './payments';
import { SealwireKeys } from './store';

type Check = readonly [name: string, run: () => unknown];

/** The refusal that a call ends in; a call that is answered is none. */
async function refusal(call: Promise<unknown>): Promise<string> {
  try {
    return `answered ${JSON.stringify(await call)}`;
  } catch (error) {
    if (!(error instanceof RemoteError)) throw error;
    return error.code;
  }
}

/** Loses the answer to the next request, once told to. */
function lossy(): Transport & { lose: boolean; requests: number } {
  const inner = fetchTransport();
  return {
    lose: false,
    requests: 0,
    async send(request) {
      this.requests += 1;
      const answer = await inner.send(request);
      if (!this.lose) return answer;
      this.lose = false;
      throw new Error('the answer was lost');
    },
  };
}

async function main(): Promise<void> {
  const { app, url, remote: connect, stop } = await start({ database: true });
  const transport = lossy();
  const remote: Remote<Api> = await connect(transport);
  const payments = app.get(DataSource).getRepository(Payment);
  const checks: Check[] = [
    [
      'the packages are the same by require and import',
      async () => {
        same((await import('@sealwire/nest')).SealwireSessions, require('@sealwire/nest').SealwireSessions);
      },
    ],
    ['a sealed call', async () => same(await remote.add(1, 2), 3)],
    [
      'a plaintext call is refused',
      async () => {
        const headers = { 'content-type': 'application/json' };
        const { status } = await fetch(url, { method: 'POST', headers, body: '{"calls":[["add",[1,2]]]}' });
        same(status, 426);
      },
    ],
    [
      'an ordinary route',
      async () => {
        same(await (await fetch(url.replace('/remote', ''))).text(), 'ordinary');
      },
    ],
    [
      'values keep their types, arguments go through the pipe',
      async () => {
        const answer = await remote.typed({ who: 'a', amount: 1, more: 1 } as never);
        same(answer, { typed: true, who: 'a', when: new Date(0), bytes: new Uint8Array([1, 2]) });
      },
    ],
    ['the pipe refuses', async () => same(await refusal(remote.typed({ who: 'a', amount: 0 })), 'bad_request')],
    ['an interceptor', async () => same(await remote.twice('a'), ['a', 'a'])],
    ['a guard lets through', async () => same(await remote.gold('gold'), 'gold')],
    ['a guard refuses', async () => same(await refusal(remote.gold('tin')), 'forbidden')],
    [
      'a guard refuses under a filter that observes',
      async () => {
        same(await refusal(remote.observed('tin')), 'forbidden');
        same(seen.splice(0), ['ForbiddenException']);
      },
    ],
    [
      'a guard refuses under a filter that observes later',
      async () => {
        same(await refusal(remote.observedLate('tin')), 'forbidden');
        same(seen.splice(0), ['late ForbiddenException']);
      },
    ],
    [
      'a guard refuses under a filter that answers null',
      async () => {
        same(await refusal(remote.observedByNull('tin')), 'forbidden');
      },
    ],
    [
      'a guard refuses under a filter that answers a stream',
      async () => {
        same(await refusal(remote.observedByStream('tin')), 'forbidden');
      },
    ],
    ['a filter answers through the response', async () => same(await refusal(remote.teapot('tin')), 'i_m_a_teapot')],
    ['a filter answers with a value', async () => same(await remote.substituted('tin'), 'instead')],
    [
      'errors',
      async () => {
        same(await refusal(remote.thrown('http')), 'forbidden');
        same(await refusal(remote.thrown('own')), 'own');
        same(await refusal(remote.thrown('any')), 'internal');
      },
    ],
    [
      'a provider made for each request, with its guard',
      async () => {
        same(await remote.method('gold'), 'POST');
        same(await refusal(remote.method('tin')), 'forbidden');
      },
    ],
    ['the data of the session', async () => same([await remote.count(), await remote.count()], [1, 2])],
    ['an exactly-once call', async () => same(await remote.pay({ who: 'a', amount: 1 }), 1)],
    [
      'an exactly-once call whose answer was lost happens once',
      async () => {
        const before = transport.requests;
        transport.lose = true;
        same(await remote.pay({ who: 'b', amount: 1 }), 1);
        same(transport.requests > before + 1, true);
        same(await payments.countBy({ who: 'b' }), 1);
      },
    ],
    [
      'an exactly-once call that fails leaves nothing',
      async () => {
        same(await refusal(remote.pay({ who: 'nobody', amount: 1 })), 'nobody');
        same(await payments.countBy({ who: 'nobody' }), 0);
      },
    ],
    [
      'the entities are those of the migrations',
      async () => {
        const { upQueries } = await app.get(DataSource).driver.createSchemaBuilder().log();
        same(
          upQueries.map(({ query }) => query).filter((query) => query.includes('sealwire')),
          [],
        );
      },
    ],
    [
      'keys and sessions are administered',
      async () => {
        same(
          (await app.get(SealwireKeys).list()).map(({ kind }) => kind),
          ['server'],
        );
        same(await app.get(SealwireSessions).count({ module: 'payments' }), 1);
      },
    ],
  ];
  let failed = 0;
  for (const [name, run] of checks) {
    try {
      await run();
      console.log(`ok    ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL  ${name}\n${error instanceof Error ? error.stack : error}`);
    }
  }
  remote.$close();
  await stop();
  process.exitCode = failed > 0 ? 1 : 0;
}

void main();
