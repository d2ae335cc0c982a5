import { type Remote, type RemoteApi, RemoteError } from '@sealwire/client';
import { CONTENT_TYPE, frameType } from '@sealwire/core';
import type { PaymentsController } from '../payments/payments.controller.js';
import type { Exchange, RecordingProxy } from './recording-proxy.js';
import { hex, shown, type Transcript } from './transcript.js';

interface Stage {
  readonly transcript: Transcript;
  readonly proxy: RecordingProxy;
  readonly payments: Remote<RemoteApi<PaymentsController>>;
  /** stops the server, starts it again and answers how many milliseconds that took */
  readonly restartServer: () => Promise<number>;
}

/** The two accounts of the story and what they hold. */
interface Accounts {
  readonly ada: string;
  readonly ben: string;
}

const STEPS = [
  'client keys, sealed with the SecureKey',
  'server keys, sealed with C1',
  'C2 and the first call, sealed with S1',
  'S2 and its result, sealed with C2+S1',
];

export async function tellStory(stage: Stage): Promise<void> {
  const ada = await handshake(stage);
  const { accounts, recorded } = await calls(stage, ada);
  await batch(stage, accounts);
  await failures(stage, accounts);
  await policy(stage);
  await attacks(stage, accounts, recorded);
  await streams(stage, accounts);
  await documents(stage, accounts);
  await restart(stage, accounts, recorded);
}

async function handshake({ transcript, proxy, payments }: Stage): Promise<string> {
  transcript.section('1. The handshake: pinned server key, SecureKey, and the first call already inside step 3');
  const request = { owner: 'Ada', deposit: 100_00n };
  const opened = await payments.open(request);
  const exchanges = proxy.take();
  const messages = exchanges.flatMap(({ sent, received, milliseconds }) => [
    { body: sent.body, time: '' },
    { body: received.body, time: `, after ${milliseconds.toFixed(1)} ms` },
  ]);
  messages.forEach(({ body, time }, i) => {
    const way = i % 2 === 0 ? '->' : '<-';
    transcript.line(`  step ${i + 1} ${way} ${`${body.length}`.padStart(5)} bytes  ${STEPS[i]}${time}`);
  });
  transcript.call('open', request, opened);
  const types = messages.map(({ body }) => frameType(body)).join(' ');
  transcript.check(
    types === 'start startAnswer finish finishAnswer',
    'four steps in two requests brought the first result',
  );
  return opened.account;
}

async function calls(stage: Stage, ada: string): Promise<{ accounts: Accounts; recorded: Exchange }> {
  const { transcript, proxy, payments } = stage;
  transcript.section('2. Calls and results, and what the proxy saw of them');
  const request = { owner: 'Ben', deposit: 1n };
  const { account: ben } = await payments.open(request);
  transcript.call('open', request, { account: ben, balance: 1n });
  showLast(stage);
  const order = { from: ada, to: ben, amount: 25_50n, note: 'lunch' };
  const receipt = await payments.transfer(order);
  transcript.call('transfer', order, receipt);
  const recorded = showLast(stage);
  const lines = await payments.statement({ account: ada });
  transcript.call(
    'statement',
    { account: ada },
    lines.map(({ amount, note }) => ({ amount, note })),
  );
  showLast(stage);
  const accounts = { ada, ben };
  transcript.check(same(await balances(stage, accounts), [74_50n, 25_51n]), 'the balances are 74.50 and 25.51');
  proxy.take();
  return { accounts, recorded };
}

async function batch(stage: Stage, { ada, ben }: Accounts): Promise<void> {
  const { transcript, payments } = stage;
  transcript.section('3. A batch: one frame, each call its own outcome');
  const nobody = '00000000-0000-4000-8000-000000000000';
  const results = await payments.$batch((remote) => [
    remote.balance({ account: ada }),
    remote.balance({ account: nobody }),
    remote.balance({ account: ben }),
  ]);
  transcript.line(`  balance x 3 -> ${results.map((result) => summary(result)).join(' | ')}`);
  showLast(stage);
  transcript.check(
    results.map(({ status }) => status).join(' ') === 'fulfilled rejected fulfilled',
    'the failing call did not swallow its neighbours',
  );
}

async function failures(stage: Stage, { ada, ben }: Accounts): Promise<void> {
  const { transcript, payments } = stage;
  transcript.section('4. Errors travel sealed too');
  const refused = await rejection(payments.transfer({ from: ada, to: 'Ben', amount: -5n, note: 'cheating' }));
  transcript.line(`  transfer to "Ben" of -5n -> ${refused.code}: ${shown(refused.details)}`);
  showLast(stage);
  transcript.check(refused.code === 'bad_request', 'the validation messages reached the client');
  const short = await rejection(payments.transfer({ from: ada, to: ben, amount: 1_000_00n, note: 'yacht' }));
  transcript.line(`  transfer of 100000n -> ${short.code}: ${shown(short.details)}`);
  transcript.check(short.code === 'insufficient_funds', 'a typed error with details, and nothing moved');
}

async function policy({ transcript, proxy }: Stage): Promise<void> {
  transcript.section('5. Policy: the module `public` answers in plain, `payments` never does');
  const plain = (name: string, ...args: unknown[]) => ({
    contentType: 'application/json',
    body: Buffer.from(JSON.stringify({ calls: [{ name, args }] })),
  });
  const open = await proxy.send('/remote/public', plain('rate', 'CHF'));
  transcript.proxySaw(open);
  transcript.check(open.received.body.includes('0.94'), 'anybody on the way reads the rate');
  const forced = await proxy.send('/remote/payments', plain('balance', {}));
  transcript.proxySaw(forced);
  transcript.check(forced.status === 426, 'a plain call on `payments` is refused before anything runs');
}

async function attacks(stage: Stage, accounts: Accounts, { path, sent }: Exchange): Promise<void> {
  const { transcript, proxy } = stage;
  transcript.section('6. The proxy turns against them, with the recorded frame of the transfer');
  const before = await balances(stage, accounts);
  const altered = Buffer.from(sent.body);
  altered[altered.length - 20] = (altered[altered.length - 20] ?? 0) ^ 1;
  const tampered = await proxy.send(path, { ...sent, body: altered });
  transcript.line(`  one bit flipped -> HTTP ${tampered.status} ${tampered.received.body.toString('utf8')}`);
  transcript.check(tampered.status === 400, 'a tampered frame is refused');
  const replies = [await proxy.send(path, sent), await proxy.send(path, sent)];
  for (const { received } of replies) {
    transcript.line(
      `  the same frame again -> ${received.body.length} bytes, ciphertext ${hex(received.body.subarray(12))} ...`,
    );
  }
  const after = await balances(stage, accounts);
  transcript.check(same(after, before), `a replayed frame does not run again: still ${after.map(money).join(' and ')}`);
  proxy.take();
}

async function streams(stage: Stage, { ada, ben }: Accounts): Promise<void> {
  const { transcript, proxy, payments } = stage;
  transcript.section('7. Streams: lines as they are booked, cut by the proxy and resumed');
  const lines = (await payments.watch({ account: ben }))[Symbol.asyncIterator]();
  const numbers: number[] = [];
  const next = async () => {
    const { value } = await lines.next();
    numbers.push(value.number);
    transcript.line(`  watch -> line ${value.number}: ${money(value.amount)} for "${value.note}"`);
  };
  await next();
  await payments.transfer({ from: ada, to: ben, amount: 3_20n, note: 'coffee' });
  await next();
  proxy.take();
  proxy.cut();
  await payments.transfer({ from: ada, to: ben, amount: 4_80n, note: 'cake' });
  await next();
  await lines.return?.();
  const cut = proxy.take().find((exchange) => exchange.cut);
  if (cut) {
    transcript.proxySaw(cut);
    transcript.line(`    its parts: npm run sealwire -- decode ${cut.sent.body.toString('hex')}`);
  }
  const [first = 0] = numbers;
  transcript.check(
    cut !== undefined && same(numbers, [first, first + 1, first + 2]),
    'the proxy cut the stream, and it went on without a gap and without a line twice',
  );
  const exported = await collect(await payments.export({ account: ada }));
  transcript.check(
    exported.reduce((sum, { amount }) => sum + amount, 0n) === (await payments.balance({ account: ada })),
    `the exported statement came as a stream of ${exported.length} lines, and their sum is the balance`,
  );
  proxy.take();
}

async function documents(stage: Stage, { ada }: Accounts): Promise<void> {
  const { transcript, proxy, payments } = stage;
  transcript.section('8. A document, up and down');
  const text = 'The contract, in words that nobody on the way reads. '.repeat(10_000);
  const file = new File([text], 'contract.txt', { type: 'text/plain' });
  const { document, size } = await payments.attach({ account: ada }, file);
  showLast(stage);
  const back = await payments.document({ document });
  const bytes = await back.bytes();
  transcript.line(`  ${back.name}, ${back.type}, ${bytes.length} bytes`);
  transcript.check(
    size === file.size && new TextDecoder().decode(bytes) === text,
    'the document came back as it was sent, and the proxy saw none of its words',
  );
  proxy.take();
}

async function restart(stage: Stage, accounts: Accounts, { path, sent }: Exchange): Promise<void> {
  const { transcript, proxy, payments, restartServer } = stage;
  transcript.section('9. The server is stopped and started again');
  const before = await balances(stage, accounts);
  proxy.take();
  transcript.line(`  down and up again in ${await restartServer()} ms`);
  const balance = await payments.balance({ account: accounts.ada });
  transcript.call('balance', { account: accounts.ada }, balance);
  const exchanges = proxy.take();
  for (const exchange of exchanges) transcript.proxySaw(exchange);
  const frames = exchanges.map((exchange) => frameType(exchange.sent.body));
  transcript.check(
    frames.every((type) => type === 'call'),
    'the client went on in its session, without a handshake',
  );
  const replayed = await proxy.send(path, sent);
  transcript.check(
    replayed.received.contentType === CONTENT_TYPE && same(await balances(stage, accounts), before),
    'the frame recorded before the restart does not run now either',
  );
}

function showLast({ transcript, proxy }: Stage): Exchange {
  const exchange = proxy.take().at(-1);
  if (!exchange) throw new Error('nothing passed the proxy');
  transcript.proxySaw(exchange);
  return exchange;
}

function balances({ payments }: Stage, { ada, ben }: Accounts): Promise<bigint[]> {
  return Promise.all([payments.balance({ account: ada }), payments.balance({ account: ben })]);
}

async function rejection(call: Promise<unknown>): Promise<RemoteError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof RemoteError) return error;
  throw new Error(`a RemoteError was expected, not ${shown(error)}`);
}

function summary(result: PromiseSettledResult<unknown>): string {
  return result.status === 'fulfilled' ? shown(result.value) : (result.reason as RemoteError).code;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const item of items) collected.push(item);
  return collected;
}

function same<T extends bigint | number>(one: readonly T[], other: readonly T[]): boolean {
  return one.every((value, i) => value === other[i]);
}

function money(cents: bigint): string {
  return `${cents / 100n}.${`${cents % 100n}`.padStart(2, '0')}`;
}
