import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  interface ProvidedContext {
    /** Answers with the admin URL of the PostgreSQL server, which the first request starts. */
    postgresBroker: string;
  }
}

interface PostgresProcess {
  child: ChildProcess;
  url: Promise<string>;
}

/** A run that touches no database starts none: workers ask this broker, and the first question starts the server. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  let postgres: PostgresProcess | undefined;
  const broker = createServer((_request, response) => {
    // a connection that closes while the next request is on its way would fail a test
    response.setHeader('connection', 'close');
    postgres ??= startPostgres();
    postgres.url.then(
      (url) => response.end(url),
      (error: Error) => response.writeHead(500).end(error.message),
    );
  }).listen(0, '127.0.0.1');
  await once(broker, 'listening');
  project.provide('postgresBroker', `http://127.0.0.1:${(broker.address() as AddressInfo).port}`);

  return async () => {
    broker.close();
    broker.closeAllConnections();
    if (postgres) await stop(postgres.child);
  };
}

function startPostgres(): PostgresProcess {
  const script = fileURLToPath(new URL('postgres-process.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', '@oxc-node/core/register', script]);
  const url = new Promise<string>((resolve, reject) => {
    const log: string[] = [];
    child.stdout.setEncoding('utf8').on('data', (line: string) => resolve(line.trim()));
    child.stderr.setEncoding('utf8').on('data', (text: string) => log.push(text));
    child.once('error', reject);
    child.once('close', (code) => reject(new Error(`PostgreSQL did not start (exit code ${code})\n${log.join('')}`)));
  });
  return { child, url };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.stdin?.end();
  await closed;
}
