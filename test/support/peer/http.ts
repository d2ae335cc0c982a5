import { request as httpRequest } from 'node:http';
import { CONTENT_TYPE } from '@sealwire/core';

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Uint8Array;
  /** of a problem */
  readonly code: string | undefined;
}

/** One POST of a frame, or of anything else. Rejects if no answer came. */
export function post(url: string, body: Uint8Array | string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const all = { 'content-type': CONTENT_TYPE, 'content-length': String(Buffer.byteLength(body)), ...headers };
    const request = httpRequest(url, { method: 'POST', headers: all }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const bytes = new Uint8Array(Buffer.concat(chunks));
        const problem = response.headers['content-type']?.startsWith('application/problem+json');
        const code = problem ? JSON.parse(new TextDecoder().decode(bytes)).code : undefined;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: bytes, code });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}
