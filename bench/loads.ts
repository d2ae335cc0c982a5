import { isDeepStrictEqual } from 'node:util';
import { CONTENT_TYPE, decodeReply, openResult, runSync } from '@sealwire/core';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { CompactEncrypt, compactDecrypt } from 'jose';
import { PeerClient } from '../test/support/peer/client.js';
import { openAes, sealAes } from './aes.js';
import { encodeRequest } from './http-load.js';
import type { Keys } from './keys.js';

/** Requests made ahead, so that the load process spends none of the measured time on them. */
export interface Load {
  readonly requests: readonly Buffer[];
  /** whether the answer to that request holds what was sent */
  check(index: number, answer: Buffer): boolean | Promise<boolean>;
}

export interface Target {
  readonly url: string;
  readonly keys: Keys;
}

/** Makes loads of `count` requests, each of which has the value come back. */
export type Loader = (target: Target, value: unknown) => Promise<(count: number) => Promise<Load> | Load>;

/** @param wrap how the value stands in a body, `unwrap` how it stands in an answer */
export function jsonLoad(path: string, wrap = same, unwrap = same): Loader {
  return async (_, value) => {
    const request = encodeRequest(path, 'application/json', Buffer.from(JSON.stringify(wrap(value))));
    return (count) => ({
      requests: Array<Buffer>(count).fill(request),
      check: (_index, answer) => isDeepStrictEqual(unwrap(JSON.parse(answer.toString())), value),
    });
  };
}

const same = (value: unknown): unknown => value;

export const aesLoad: Loader = async ({ keys }, value) => {
  const key = Buffer.from(keys.env.BENCH_RAW_KEY, 'hex');
  const request = encodeRequest('/', 'application/octet-stream', sealAes(key, Buffer.from(JSON.stringify(value))));
  return (count) => ({
    requests: Array<Buffer>(count).fill(request),
    check: (_, answer) => isDeepStrictEqual(JSON.parse(openAes(key, answer).toString()), value),
  });
};

export const joseLoad: Loader = async ({ keys }, value) => {
  const key = Buffer.from(keys.env.BENCH_RAW_KEY, 'hex');
  const jwe = await new CompactEncrypt(Buffer.from(JSON.stringify(value)))
    .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
    .encrypt(key);
  const request = encodeRequest('/jose/echo', 'application/jose', Buffer.from(jwe));
  return (count) => ({
    requests: Array<Buffer>(count).fill(request),
    async check(_, answer) {
      const { plaintext } = await compactDecrypt(answer.toString(), key);
      return isDeepStrictEqual(JSON.parse(Buffer.from(plaintext).toString()), value);
    },
  });
};

/** @param batch calls in one message */
export function sealedLoad(batch: number): Loader {
  return async ({ url, keys }, value) => {
    const session = await openSession(url, keys);
    return (count) => sealedRequests(session, count, value, batch);
  };
}

export function openSession(url: string, keys: Keys): Promise<PeerClient> {
  return PeerClient.open({ url, module: 'bench', ...keys.client });
}

/** Requests with frames of their own, each carrying `batch` times the call. */
export function sealedRequests(session: PeerClient, count: number, value: unknown, batch = 1): Load {
  const calls = Array.from({ length: batch }, () => ({ name: 'echo', args: [value] }));
  const sealed = Array.from({ length: count }, () => session.seal(...calls));
  return {
    requests: sealed.map(({ frame }) => encodeRequest('/remote/bench', CONTENT_TYPE, frame)),
    check(index, answer) {
      const call = sealed[index];
      if (!call) return false;
      const key = { primitives, keySize: 32 as const, secret: call.secrets.serverToClient };
      const reply = decodeReply(runSync(openResult(key, call.header, answer)));
      return (
        'outcomes' in reply &&
        reply.outcomes.length === batch &&
        reply.outcomes.every((outcome) => outcome.ok && isDeepStrictEqual(outcome.value, value))
      );
    },
  };
}
