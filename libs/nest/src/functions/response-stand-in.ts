import type { Outcome } from '@sealwire/core';
import { failureOfResponse } from './outcome.js';

/**
 * The response that guards, interceptors and filters of a remote function are given. What they write becomes the sealed
 * outcome: a filter that answers `response.status(418).json(...)` can never put plaintext on the wire.
 */
export class CapturedResponse {
  statusCode = 200;
  headersSent = false;
  private body: unknown;
  // made when somebody asks: hardly any call does
  private kept: Record<string, unknown> | undefined;
  private headers: Map<string, unknown> | undefined;

  get locals(): Record<string, unknown> {
    this.kept ??= {};
    return this.kept;
  }

  /** What was written, undefined where nothing was. */
  outcome(): Outcome | undefined {
    if (!this.headersSent) return undefined;
    if (this.statusCode >= 400) return failureOfResponse(this.statusCode, this.body);
    return { ok: true, value: this.body };
  }

  get sent(): boolean {
    return this.headersSent;
  }

  status(code: number): this {
    this.statusCode = code;
    return this;
  }

  code(code: number): this {
    return this.status(code);
  }

  send(body?: unknown): this {
    this.body = body;
    this.headersSent = true;
    return this;
  }

  json(body?: unknown): this {
    return this.send(body);
  }

  end(body?: unknown): this {
    return this.send(body);
  }

  /** Headers have no place in a result; they are kept for whoever asks for them again. */
  setHeader(name: string, value: unknown): this {
    this.headers ??= new Map();
    this.headers.set(name.toLowerCase(), value);
    return this;
  }

  header(name: string, value: unknown): this {
    return this.setHeader(name, value);
  }

  set(name: string, value: unknown): this {
    return this.setHeader(name, value);
  }

  type(value: string): this {
    return this.setHeader('content-type', value);
  }

  getHeader(name: string): unknown {
    return this.headers?.get(name.toLowerCase());
  }

  get(name: string): unknown {
    return this.getHeader(name);
  }

  removeHeader(name: string): void {
    this.headers?.delete(name.toLowerCase());
  }
}
