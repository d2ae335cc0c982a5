import type { ServerResponse } from 'node:http';
import { concat, runSync } from '@sealwire/core';
import { type LiveSealer, type PieceBody } from '@sealwire/core/live';
import { closerOf, isGone } from '../quirks/http2.js';
import type { Stoppable } from './flights.js';
import type { LiveReply } from './live-reply.js';

/** How long a stopped result may take to reach its client, in milliseconds. */
const STOP_MS = 500;
/** Bytes that may wait in a response before the sources do: the next piece is made while one is on its way. */
const AHEAD = 131_072;

/** Where a live result leaves. */
export interface LiveResponse {
  readonly node: ServerResponse;
  /** @returns whether it takes more at once */
  write(parts: readonly Uint8Array[]): boolean;
  /** Writes the last bytes. */
  end(bytes: Uint8Array): void;
}

interface LiveResultOptions {
  /** seals the first piece: the header is part of what it answers */
  readonly begin: (body: PieceBody, last: boolean) => { readonly sealer: LiveSealer; readonly first: Uint8Array };
  /** milliseconds of silence after which a pulse is sent */
  readonly pulse: number;
  /** told once, behind the first piece, if others follow */
  readonly goesOn: () => void;
  /** told at each piece and pulse */
  readonly alive: () => void;
  /** told once: it is over, and every call has its outcome */
  readonly done: () => void;
}

/**
 * A live result on its way to one response. With the connection its streams end; a result without streams goes on without
 * anybody, and is kept.
 */
export class LiveResult implements Stoppable {
  readonly #reply: LiveReply;
  readonly #options: LiveResultOptions;
  #response: LiveResponse | undefined;
  #sealer: LiveSealer | undefined;
  #pulse: NodeJS.Timeout | undefined;
  #drained: (() => void) | undefined;
  #stopped: 'session_ended' | 'busy' | undefined;
  #stopping = false;
  /** its last piece was written: its connection may close */
  #written = false;
  /** it was sent, or nobody is being sent it any more */
  over = false;

  constructor(reply: LiveReply, options: LiveResultOptions) {
    this.#reply = reply;
    this.#options = options;
  }

  /** Sends it to the client; nothing is sent before. Called once. */
  send(response: LiveResponse): void {
    this.#response = response;
    this.#loseIfGone();
    this.#reply
      .run((body, last) => this.#write(body, last))
      .then(
        () => this.#end(),
        () => this.#fail(),
      );
  }

  /** Calls go on though their session has ended, so only a result with streams is stopped. */
  stop(status: 'session_ended' | 'busy'): void {
    this.#stopped ??= status;
    if (this.over || this.#stopping || this.#reply.size === 0) return;
    this.#stopping = true;
    const response = this.#response?.node;
    this.#reply.stop(this.#stopped);
    // kept alive, it would keep the server from stopping
    if (status === 'busy') response?.once('finish', closerOf(response));
    // a client that does not read would never get to the end
    setTimeout(() => response?.destroy(), STOP_MS).unref();
  }

  #write(body: PieceBody, last: boolean): void | Promise<void> {
    this.#loseIfGone();
    const parts = this.#seal(body, last);
    if (this.#pulse) this.#pulse.refresh();
    else if (!last) this.#goOn();
    this.#options.alive();
    const response = this.#response;
    const streams = this.#reply.size > 0;
    const stopped = this.#stopped;
    // an outcome with a stream came too late
    if (streams && !last && !response) queueMicrotask(() => this.#reply.cancel());
    if (streams && !last && stopped) queueMicrotask(() => this.stop(stopped));
    if (last) {
      this.#written = true;
      response?.end(parts.length === 1 ? (parts[0] as Uint8Array) : concat(...parts));
      return;
    }
    if (!response) return;
    if (response.write(parts) || response.node.writableLength < AHEAD) return;
    return new Promise((resolve) => {
      this.#drained = resolve;
      response.node.once('drain', resolve);
    });
  }

  /** Most results are whole with their first piece, and need none of this. */
  #goOn(): void {
    const node = this.#response?.node;
    node?.once('close', () => this.#lose());
    // what is written to a connection that breaks is lost with it
    node?.on('error', () => undefined);
    this.#pulse = setTimeout(() => this.#beat(), this.#options.pulse).unref();
    // once it is written: of a session that has ended it is stopped at once
    queueMicrotask(() => this.over || this.#options.goesOn());
  }

  #seal(body: PieceBody, last: boolean): readonly Uint8Array[] {
    if (this.#sealer) return runSync(this.#sealer.sealInPlace(body, last));
    const { sealer, first } = this.#options.begin(body, last);
    this.#sealer = sealer;
    return [first];
  }

  #beat(): void {
    this.#options.alive();
    if (this.#response && !this.#response.node.writableNeedDrain) this.#reply.pulse();
    this.#pulse?.refresh();
  }

  /** Its client has left, or the application has ended the response itself. */
  #loseIfGone(): void {
    const node = this.#response?.node;
    if (node && (node.writableEnded || isGone(node))) this.#lose();
  }

  #lose(): void {
    if (this.over || this.#written) return;
    this.#response = undefined;
    if (this.#reply.size > 0) this.#reply.cancel();
    this.#drained?.();
  }

  #fail(): void {
    this.#response?.node.destroy();
    this.#end();
  }

  #end(): void {
    if (this.over) return;
    this.over = true;
    clearTimeout(this.#pulse);
    this.#sealer?.erase();
    void this.#reply.complete.then(this.#options.done);
  }
}
