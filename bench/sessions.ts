import { PARALLEL, Runner, startContender } from './calls.js';
import { CONTENDERS, type ContenderName } from './contenders.js';
import type { Keys } from './keys.js';
import { openSession } from './loads.js';
import type { ProfileGroup } from './profile.js';
import type { Delay, Memory } from './questions.js';
import { median, printTable } from './statistics.js';

/** Clients compute more than the server in a handshake, so its CPU time says more than the rate that one client reaches. */
export async function measureHandshakes(keys: Keys, count: number): Promise<void> {
  const process = await startContender(CONTENDERS.sealed, keys);
  const open = async (times: number) => {
    for (let i = 0; i < times; i++) await openSession(process.url ?? '', keys);
  };
  try {
    await open(Math.ceil(count / 3));
    const before = await process.cpu();
    await open(count);
    const cpu = ((await process.cpu()) - before) / count;
    await process.ask('startProfile');
    await open(count);
    const groups = await process.ask<ProfileGroup[]>('stopProfile');
    printTable(
      `Handshakes: four steps over two requests, Node ${globalThis.process.version}`,
      ['', 'server CPU us', 'share'],
      [
        ['one handshake (goal: 1500 on Node 20, 800 on Node 24)', Math.round(cpu), ''],
        ...groups.map(({ name, share }) => [`  ${name}`, Math.round(cpu * share), `${(share * 100).toFixed(0)} %`]),
        ['what one core of the server can do in a second', Math.round(1_000_000 / cpu), ''],
      ],
    );
  } finally {
    await process.end();
  }
}

/** By how much turns of the event loop come late while 16 connections are busy. Contenders take turns of a second. */
export async function measureDelay(keys: Keys, seconds: number): Promise<void> {
  const names: ContenderName[] = ['nest', 'sealed', 'sealedBatch'];
  const runners: Runner[] = [];
  try {
    for (const name of names) {
      const process = await startContender(CONTENDERS[name], keys);
      runners.push(await Runner.open(CONTENDERS[name], process, keys, 1_024));
    }
    for (const runner of runners) await runner.warmUp(1_000);
    const delays = new Map(runners.map((runner) => [runner, [] as Delay[]]));
    for (let second = 0; second < seconds; second++) {
      for (const [runner, measured] of delays) {
        await runner.stretch(undefined, undefined, {
          before: () => runner.process.ask('startDelay'),
          after: async () => measured.push(await runner.process.ask('stopDelay')),
        });
      }
    }
    const rows = [...delays].map(([runner, measured]) => [
      runner.contender.title,
      ...[
        median(measured.map(({ p50 }) => p50)),
        median(measured.map(({ p99 }) => p99)),
        Math.max(...measured.map(({ max }) => max)),
      ].map((ms) => `${ms.toFixed(1)} ms`),
    ]);
    const title = `Event-loop delay of the server: ${seconds} seconds of load, 1024 bytes, ${PARALLEL} connections`;
    printTable(title, ['', 'p50', 'p99 of a second', 'max'], rows);
  } finally {
    for (const runner of runners) {
      runner.close();
      await runner.process.end();
    }
  }
}

/** Sessions that each served a call, in the memory of one process. */
export async function measureMemory(keys: Keys, count: number): Promise<void> {
  const process = await startContender(CONTENDERS.sealed, keys);
  const open = async (times: number) => {
    let left = times;
    const worker = async () => {
      while (left-- > 0) await (await openSession(process.url ?? '', keys)).value('echo', 1);
    };
    await Promise.all(Array.from({ length: PARALLEL }, worker));
  };
  try {
    await open(200);
    const before = await process.ask<Memory>('memory');
    await open(count);
    const after = await process.ask<Memory>('memory');
    const row = (name: string, bytes: number) => [
      name,
      `${(bytes / count / 1_024).toFixed(2)} KiB`,
      `${(bytes / 2 ** 20).toFixed(0)} MiB`,
    ];
    printTable(
      `Memory of a hot session, ${count} in one process, without a database`,
      ['', 'a session', 'all'],
      [
        row('in use after a collection (goal: at most 2 KiB)', after.used - before.used),
        row('resident', after.rss - before.rss),
      ],
    );
  } finally {
    await process.end();
  }
}
