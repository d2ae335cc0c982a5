import { createHash } from 'node:crypto';
import { concat, toHex } from '../../libs/core/src/bytes.js';
import { nodePrimitives } from '../../libs/core/src/crypto/node.js';
import type { Primitives } from '../../libs/core/src/crypto/primitives.js';
import type { HandshakeSuite } from '../../libs/core/src/handshake/frames.js';
import { aeadKey, SymmetricState } from '../../libs/core/src/handshake/key-schedule.js';
import { runSync, type Step } from '../../libs/core/src/steps.js';

/** One operation on the handshake state and what the state was after it, in hexadecimal. */
export interface Operation {
  what?: string;
  operation: string;
  input: string;
  /** of EncryptAndHash alone: key, nonce and associated data that sealed, and what came out */
  key?: string;
  nonce?: string;
  ad?: string;
  sealed?: string;
  h: string;
  ck: string;
  k: string;
}

/** SHA-256(seed || "/" || 0), SHA-256(seed || "/" || 1) ...: as many bytes as asked. */
export function bytesFrom(seed: string, length: number): Uint8Array {
  const blocks = Array.from({ length: Math.ceil(length / 32) }, (_, i) =>
    createHash('sha256').update(`${seed}/${i}`).digest(),
  );
  return concat(...blocks).slice(0, length);
}

/** Fixed randomness: hands out the bytes of `named` in order, and refuses to run dry or to give another length. */
export function scriptedSuite(named: readonly (readonly [name: string, bytes: Uint8Array])[]): HandshakeSuite {
  const queue = [...named];
  const random = (length: number) => {
    const [name, bytes] = queue.shift() ?? ['nothing', new Uint8Array()];
    if (bytes.length !== length) throw new Error(`${length} random bytes were asked for, ${name} has ${bytes.length}`);
    return bytes.slice();
  };
  return { primitives: { ...nodePrimitives, random }, random };
}

/** Records what every SymmetricState does while `play` runs. The operations that another one is made of are left out. */
export function record<T>(play: () => T): { operations: Operation[]; result: T } {
  const operations: Operation[] = [];
  const state = SymmetricState.prototype;
  const original = {
    mixHash: state.mixHash,
    mixKey: state.mixKey,
    mixKeyAndHash: state.mixKeyAndHash,
    seal: state.seal,
    open: state.open,
  };
  let depth = 0;

  function wrap<A extends Uint8Array[], R>(operation: string, method: (this: SymmetricState, ...data: A) => R) {
    return function (this: SymmetricState, ...data: A): R {
      const before = { k: this.k.slice(), h: toHex(this.h) };
      depth++;
      const result = method.apply(this, data);
      depth--;
      if (depth > 0) return result;
      const after = { h: toHex(this.h), ck: toHex(this.ck), k: toHex(this.k) };
      const entry: Operation = { operation, input: toHex(concat(...data)), ...after };
      if (result instanceof Uint8Array) {
        const [plaintext, sealed] = operation === 'seal' ? [entry.input, toHex(result)] : [toHex(result), entry.input];
        const { key, nonce } = aeadKey(before.k, this.keySize);
        const used = { key: toHex(key), nonce: toHex(nonce), ad: before.h };
        Object.assign(entry, { operation: 'EncryptAndHash', input: plaintext, ...used, sealed });
      }
      operations.push(entry);
      return result;
    };
  }

  // these primitives answer at once
  type Work<R> = (this: SymmetricState, ...data: Uint8Array[]) => Step<R>;
  const recorded = <R>(operation: string, method: (this: SymmetricState, data: Uint8Array) => Step<R>): Work<R> => {
    const wrapped = wrap(operation, function (this: SymmetricState, ...data: Uint8Array[]) {
      return runSync((method as Work<R>).apply(this, data));
    });
    // biome-ignore lint/correctness/useYield: it never waits
    return function* (...data) {
      return wrapped.apply(this, data);
    };
  };
  state.mixHash = recorded('MixHash', original.mixHash);
  state.mixKey = recorded('MixKey', original.mixKey);
  state.mixKeyAndHash = recorded('MixKeyAndHash', original.mixKeyAndHash);
  state.seal = recorded('seal', original.seal);
  state.open = recorded('open', original.open);
  try {
    return { operations, result: play() };
  } finally {
    Object.assign(state, original);
  }
}

/** Primitives that note every AEAD use: key, nonce, associated data, plaintext, sealed. */
export interface SealedChunk {
  key: string;
  nonce: string;
  ad: string;
  plaintext: string;
  sealed: string;
}

type Four = [string, string, string, string];

export function notingSeals(primitives: Primitives): { primitives: Primitives; seals: SealedChunk[] } {
  const seals: SealedChunk[] = [];
  return {
    seals,
    primitives: {
      ...primitives,
      seal(...use) {
        // noted before, for what comes out may lie over what goes in
        const [key, nonce, ad, plaintext] = use.slice(0, 4).map((bytes) => toHex(bytes as Uint8Array)) as Four;
        const sealed = primitives.seal(...use);
        seals.push({ key, nonce, ad, plaintext, sealed: toHex(sealed) });
        return sealed;
      },
    },
  };
}

export function hexed(entries: Iterable<readonly [string, Uint8Array]>): Record<string, string> {
  return Object.fromEntries([...entries].map(([name, bytes]) => [name, toHex(bytes)]));
}
