import { isDeepStrictEqual } from 'node:util';
import { drive, encodeRequest, openConnections } from './http-load.mjs';
import { payloadOf } from './payload.mjs';
import { SealedClient } from './sealed-client.mjs';
import { makeKeys, startServers } from './servers.mjs';
import { median, printTable, quantile } from './statistics.mjs';

const SIZES = [200, 1_024, 65_536];
const PARALLEL = 16;
const BATCH = 16;
const BASELINE = 'Nest, JSON controller';

/** The same handler behind node:http, a JSON controller of Nest on Express, sealed calls, and sealed batches. */
export async function compareCalls({ quick }) {
  const plan = quick ? { rounds: 3, ms: 300, latency: 200 } : { rounds: 7, ms: 1_000, latency: 1_000 };
  const keys = makeKeys();
  const servers = await startServers('server.ts', keys.env);
  try {
    for (const size of SIZES) await compareSize(servers, keys.client, size, plan);
    await measureHandshakes(servers, keys.client, plan);
  } finally {
    await servers.stop();
  }
}

async function compareSize(servers, keys, size, plan) {
  const contenders = await contendersFor(servers, keys, payloadOf(size));
  for (const contender of contenders) {
    contender.connections = await openConnections(contender.port, PARALLEL);
    // twice: the first run also compiles
    for (const ms of [plan.ms / 2, plan.ms]) {
      const { rate } = await measure(servers, contender, contender.connections, contender.count ?? 64);
      contender.count = Math.max(PARALLEL, Math.ceil(((rate / contender.calls) * ms) / 1_000));
    }
  }
  for (let round = 0; round < plan.rounds; round++) {
    for (const contender of contenders) {
      const [one] = contender.connections;
      contender.throughput.push(await measure(servers, contender, contender.connections, contender.count));
      const share = Math.ceil(plan.latency / plan.rounds);
      contender.latencies.push(...(await measure(servers, contender, [one], share)).latencies);
    }
  }
  for (const { connections } of contenders) for (const connection of connections) connection.close();
  report(size, contenders);
}

async function contendersFor({ ports }, keys, value) {
  const [connection] = await openConnections(ports.sealed, 1);
  const client = await SealedClient.open(connection, 'bench', keys);
  connection.close();
  const json = (path) => (count) => {
    const request = encodeRequest(path, 'application/json', Buffer.from(JSON.stringify(value)));
    const check = (_, answer) => isDeepStrictEqual(JSON.parse(answer.toString()), value);
    return { requests: Array(count).fill(request), check };
  };
  const sealed = (batch) => (count) => {
    const { requests, headers } = client.prepare(count, 'echo', value, batch);
    const check = (index, answer) => {
      const outcomes = client.open(headers[index], answer);
      return outcomes.length === batch && outcomes.every((outcome) => isDeepStrictEqual(outcome.value, value));
    };
    return { requests, check };
  };
  return [
    { name: 'node:http, JSON', port: ports.node, calls: 1, prepare: json('/echo') },
    { name: BASELINE, port: ports.nest, calls: 1, prepare: json('/json/echo') },
    { name: 'sealed call', port: ports.sealed, calls: 1, prepare: sealed(1) },
    { name: `sealed batch of ${BATCH}`, port: ports.sealed, calls: BATCH, prepare: sealed(BATCH) },
  ].map((contender) => ({ ...contender, throughput: [], latencies: [] }));
}

async function measure(servers, { prepare, calls }, connections, count) {
  const { requests, check } = prepare(count);
  const latencies = [];
  let last;
  let then = performance.now();
  const before = await servers.usage();
  const ms = await drive(connections, requests, (index, answer) => {
    const now = performance.now();
    latencies.push(now - then);
    then = now;
    last = { index, answer };
  });
  const after = await servers.usage();
  if (!check(last.index, last.answer)) throw new Error('an answer does not hold what was sent');
  return {
    rate: (count * calls * 1_000) / ms,
    cpu: (after.cpu - before.cpu) / (count * calls),
    up: bodyLength(requests[0]),
    down: last.answer.length,
    latencies: latencies.slice(1),
  };
}

function report(size, contenders) {
  const baseline = contenders.find(({ name }) => name === BASELINE);
  const rows = contenders.map(({ name, throughput, latencies, calls }) => {
    const ratio = median(throughput.map(({ rate }, round) => rate / baseline.throughput[round].rate));
    return [
      name,
      Math.round(median(throughput.map(({ rate }) => rate))),
      `${ratio.toFixed(2)}x`,
      median(throughput.map(({ cpu }) => cpu)).toFixed(0),
      `${quantile(latencies, 0.5).toFixed(2)} ms`,
      `${quantile(latencies, 0.99).toFixed(2)} ms`,
      Math.round(throughput[0].up / calls),
      Math.round(throughput[0].down / calls),
    ];
  });
  const head = ['', 'calls/s', 'ratio', 'CPU us/call', 'p50', 'p99', 'bytes up', 'down'];
  printTable(`${size} bytes each way: ${PARALLEL} connections; p50 and p99 at 1`, head, rows);
}

/** Clients compute more than the server in a handshake, so its CPU time says more than the rate that one client reaches. */
async function measureHandshakes({ ports, usage }, keys, plan) {
  const [connection] = await openConnections(ports.sealed, 1);
  const count = plan.latency / 2;
  for (let i = 0; i < count / 4; i++) await SealedClient.open(connection, 'bench', keys);
  const before = await usage();
  const started = performance.now();
  for (let i = 0; i < count; i++) await SealedClient.open(connection, 'bench', keys);
  const ms = performance.now() - started;
  const cpu = ((await usage()).cpu - before.cpu) / count;
  connection.close();
  printTable(
    'Handshakes, four steps over two requests',
    ['', 'per second', 'CPU us'],
    [
      ['one client, one after the other', Math.round((count * 1_000) / ms), ''],
      ['what one core of the server can do', Math.round(1_000_000 / cpu), Math.round(cpu)],
    ],
  );
}

function bodyLength(request) {
  return request.length - request.indexOf('\r\n\r\n') - 4;
}
