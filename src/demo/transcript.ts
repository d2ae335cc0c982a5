import { inspect, styleText } from 'node:util';
import { frameType, SIZE } from '@sealwire/core';
import type { Exchange, Message } from './recording-proxy.js';

const SHOWN = 10;

/** Prints what happens, and counts what did not behave. */
export class Transcript {
  private checks = 0;
  private failures = 0;

  section(title: string): void {
    this.line();
    this.line(process.stdout.isTTY ? styleText('bold', title) : title);
  }

  line(text = ''): void {
    console.log(text);
  }

  call(name: string, args: unknown, result: unknown): void {
    this.line(`  ${name}(${shown(args)})`);
    this.line(`    -> ${shown(result)}`);
  }

  /** What a proxy reads of a request and its answer: all of it in plain, or where the ciphertext begins. */
  proxySaw({ sent, status, received, milliseconds }: Exchange): void {
    this.line(`    proxy saw ${readable(sent)}`);
    this.line(`           -> ${readable(received)}; HTTP ${status}, ${milliseconds.toFixed(1)} ms`);
  }

  check(behaved: boolean, text: string): void {
    this.checks++;
    if (!behaved) this.failures++;
    this.line(`  ${behaved ? 'ok    ' : 'FAILED'} ${text}`);
  }

  /** Whether everything behaved. */
  end(): boolean {
    this.section(
      this.failures === 0
        ? `All ${this.checks} checks behaved as promised.`
        : `${this.failures} of ${this.checks} checks FAILED.`,
    );
    return this.failures === 0;
  }
}

export function shown(value: unknown): string {
  const text = inspect(value, { breakLength: Number.POSITIVE_INFINITY, compact: true, depth: 4 });
  return text.replaceAll(/([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f-]{22}/g, '$1...');
}

export function hex(bytes: Uint8Array): string {
  return [...bytes.subarray(0, SHOWN)].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

function readable({ contentType, body }: Message): string {
  const size = `${body.length} bytes`;
  if (contentType.includes('json')) return `${size} of JSON: ${body.toString('utf8')}`;
  const type = frameType(body);
  const header = type === 'call' ? SIZE.callHeader : type === 'result' ? SIZE.resultHeader : 4;
  return `${size}, ciphertext ${hex(body.subarray(header))} ...`;
}
