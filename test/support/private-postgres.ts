import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface PrivatePostgres {
  url: string;
  /** ends it as a power cut of the database's process would: no checkpoint, connections torn */
  crash(): Promise<void>;
  stop(): Promise<void>;
  start(): Promise<void>;
  end(): Promise<void>;
}

/** A PostgreSQL server that a test may stop: it shares it with nobody. What it acknowledged survives its crash. */
export async function privatePostgres(): Promise<PrivatePostgres> {
  const script = fileURLToPath(new URL('postgres-process.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', '@oxc-node/core/register', script, '--durable'], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stderr.resume();
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done) throw new Error('the private PostgreSQL server is gone');
    return value;
  };
  const ask = async (command: string): Promise<string> => {
    child.stdin.write(`${command}\n`);
    return line();
  };
  return {
    url: await line(),
    crash: async () => void (await ask('crash')),
    stop: async () => void (await ask('stop')),
    start: async () => void (await ask('start')),
    end: async () => {
      if (child.exitCode !== null) return;
      child.stdin.end();
      await once(child, 'close');
    },
  };
}
