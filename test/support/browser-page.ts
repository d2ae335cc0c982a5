/** Runs in the page: what `OpenPage.run` hands to the functions of a spec. */
import * as client from '@sealwire/client';
import { sessionPersistence } from '@sealwire/client/persistence';

/** What became of a promise, in a form that travels out of the page. */
export interface Outcome<T> {
  readonly value?: T;
  readonly name?: string;
  readonly code?: string;
  readonly message?: string;
  readonly details?: unknown;
}

async function outcome<T>(promise: Promise<T>): Promise<Outcome<T>> {
  try {
    return { value: await promise };
  } catch (error) {
    const { name, code, message, details } = error as client.SealwireError & { details?: unknown };
    return { name, code, message, ...(details === undefined ? {} : { details }) };
  }
}

/** Remotes and whatever else lives from one `run` of a page to the next. */
const kept: Record<string, unknown> = {};

export const tools = { ...client, sessionPersistence, outcome, kept };
export type Tools = typeof tools;

(globalThis as { sealwire?: Tools }).sealwire = tools;
