import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export interface ServerOptions {
  env: Record<string, string>;
  nodeFlags?: readonly string[];
}

const STARTING = 60_000;
const root = fileURLToPath(new URL('../..', import.meta.url));
const running = new Set<ChildProcess>();
// a worker that ends in whatever way takes its servers along, paused ones too
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

/**
 * A server in a process of its own, which can be killed, paused and started again. The script tells `{ port }` over IPC when
 * it listens, and answers what `ask` sends it; it ends when the IPC channel closes.
 */
export class ServerProcess {
  /** undefined while it is down; a proxy takes this object for an upstream */
  url: string | undefined;
  readonly log: string[] = [];
  private child: ChildProcess | undefined;
  private asked = 0;

  constructor(
    private readonly script: URL,
    private readonly options: ServerOptions,
  ) {}

  get pid(): number {
    if (!this.child?.pid) throw new Error('the server is not running');
    return this.child.pid;
  }

  /** @param env added to what the constructor was given */
  async start(env: Record<string, string> = {}): Promise<this> {
    const child = fork(this.script, {
      cwd: root,
      execArgv: ['--import', '@oxc-node/core/register', ...(this.options.nodeFlags ?? [])],
      env: { ...process.env, ...this.options.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.child = child;
    running.add(child);
    // asking a process that was just killed is no error of the test
    child.on('error', () => undefined).once('close', () => running.delete(child));
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.log.push(text);
        if (this.log.length > 500) this.log.shift();
      });
    }
    const timeout = setTimeout(() => child.kill('SIGKILL'), STARTING);
    try {
      const port = await new Promise<number>((resolve, reject) => {
        child.once('message', (message: { port: number }) => resolve(message.port));
        child.once('close', (code, signal) => {
          reject(new Error(`the server did not start (${code ?? signal})\n${this.log.join('').slice(-4_000)}`));
        });
      });
      this.url = `http://127.0.0.1:${port}`;
      return this;
    } finally {
      clearTimeout(timeout);
    }
  }

  /** SIGKILL by default. Resolves when the process is gone. */
  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const { child } = this;
    this.url = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const closed = once(child, 'close');
    child.kill(signal);
    await closed;
  }

  pause(): void {
    this.child?.kill('SIGSTOP');
  }

  resume(): void {
    this.child?.kill('SIGCONT');
  }

  /** Asks the script something over IPC. */
  async ask<T>(question: string, ...parameters: unknown[]): Promise<T> {
    const { child } = this;
    if (!child) throw new Error('the server is not running');
    const id = ++this.asked;
    return new Promise<T>((resolve, reject) => {
      const settle = () => child.off('message', receive).off('close', gone);
      const gone = () => reject(new Error(`the server ended before it answered '${question}'`));
      const receive = (message: { id?: number; answer?: T; error?: string }) => {
        if (message.id !== id) return;
        settle();
        if (message.error === undefined) resolve(message.answer as T);
        else reject(new Error(message.error));
      };
      child.on('message', receive).once('close', gone);
      child.send({ id, question, parameters });
    });
  }
}
