import { Injectable, signal } from '@angular/core';
import type { DemoKeys } from '../../../src/web/demo.controller.js';

/** What the demo's server does for this page only: it hands out keys, restarts, and revokes a session. */
@Injectable({ providedIn: 'root' })
export class Demo {
  readonly keys = signal<DemoKeys | undefined>(undefined);
  /** what to do if there are no keys */
  readonly problem = signal<string | undefined>(undefined);

  async load(): Promise<void> {
    this.problem.set(undefined);
    const response = await this.#ask('GET', '/demo').catch(() => undefined);
    if (!response) this.problem.set('The server does not answer. Start it with "npm start", then try again.');
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

  /** @returns why not, if it does not */
  async restart(): Promise<string | undefined> {
    const response = await this.#ask('POST', '/demo/restart');
    return response.ok ? undefined : problemOf(response);
  }

  /** @returns whether there was such a session */
  async revoke(session: string): Promise<boolean> {
    const response = await this.#ask('POST', '/demo/revoke', { session });
    return response.ok && (await response.json()).revoked;
  }

  #ask(method: string, url: string, body?: object): Promise<Response> {
    const headers = { 'x-sealwire-demo': '1', ...(body ? { 'content-type': 'application/json' } : {}) };
    return fetch(url, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
  }
}

async function problemOf(response: Response): Promise<string> {
  if (response.status === 404) {
    return 'This server is not the demo, so it hands out no SecureKey. Start the demo with "npm start".';
  }
  const { message }: { message?: string } = await response.json().catch(() => ({}));
  return message ?? `The server answered ${response.status}. Look at its log.`;
}
