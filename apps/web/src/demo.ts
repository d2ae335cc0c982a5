import { Injectable, signal } from '@angular/core';
import type { DemoKeys } from '../../../src/web/demo.controller.js';

/** milliseconds until a server that somebody else restarts answers, and until it is another process */
const DOWN = 10_000;
const PATIENCE = 120_000;

const NO_ANSWER = 'The server does not answer. Start it with "npm start", then try again.';

/** What the demo's server does for this page only: it hands out keys, restarts, and revokes a session. */
@Injectable({ providedIn: 'root' })
export class Demo {
  readonly keys = signal<DemoKeys | undefined>(undefined);
  /** what to do if there are no keys */
  readonly problem = signal<string | undefined>(undefined);

  async load(): Promise<void> {
    this.problem.set(undefined);
    const response = await this.#ask('GET', '/demo').catch(() => undefined);
    if (!response) this.problem.set(NO_ANSWER);
    else if (!response.ok) this.problem.set(await problemOf(response));
    else {
      const keys: DemoKeys | undefined = await response.json().catch(() => undefined);
      if (keys?.serverKey) this.keys.set(keys);
      else
        this.problem.set(
          'Something else answers in the place of the server: open the page where "npm start" printed its address.',
        );
    }
  }

  /** Resolves when another process answers. @returns why not, if none does */
  async restart(): Promise<string | undefined> {
    const response = await until(() => this.#ask('POST', '/demo/restart'), DOWN);
    if (!response?.ok) return response ? problemOf(response) : NO_ANSWER;
    const { process }: Pick<DemoKeys, 'process'> = await response.json();
    const isOther = async (): Promise<true | undefined> => {
      const now: Partial<DemoKeys> = await (await this.#ask('GET', '/demo')).json();
      return now.process === undefined || now.process === process ? undefined : true;
    };
    if (await until(isOther, PATIENCE)) return undefined;
    return 'The server did not come back in two minutes. See what the terminal says in which "npm start" runs.';
  }

  /** @returns why not, if it was not revoked */
  async revoke(session: string): Promise<string | undefined> {
    const response = await this.#ask('POST', '/demo/revoke', { session }).catch(() => undefined);
    if (!response?.ok) return response ? problemOf(response) : NO_ANSWER;
    const { revoked }: { readonly revoked: boolean } = await response.json();
    return revoked ? undefined : 'There is no session to revoke now.';
  }

  #ask(method: string, url: string, body?: object): Promise<Response> {
    const headers = { 'x-sealwire-demo': '1', ...(body ? { 'content-type': 'application/json' } : {}) };
    return fetch(url, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
  }
}

/** Looks again and again. @returns undefined after so many milliseconds without anything */
async function until<T>(look: () => Promise<T | undefined>, patience: number): Promise<T | undefined> {
  for (const end = performance.now() + patience; ; ) {
    const found = await look().catch(() => undefined);
    if (found !== undefined || performance.now() > end) return found;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

async function problemOf(response: Response): Promise<string> {
  if (response.status === 404) {
    return 'This server is not the demo, so it hands out no SecureKey. Start the demo with "npm start".';
  }
  const { message }: { message?: string } = await response.json().catch(() => ({}));
  return message ?? `The server answered ${response.status}. Look at its log.`;
}
