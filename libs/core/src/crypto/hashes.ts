import { clean } from '@noble/hashes/utils.js';
import type { ClientPrimitives } from './primitives.js';

/** FIPS 180-4, section 4.2.2 */
const K = Int32Array.of(
  ...[0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5],
  ...[0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174],
  ...[0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da],
  ...[0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967],
  ...[0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85],
  ...[0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070],
  ...[0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3],
  ...[0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2],
);
/** section 5.3.3 */
const INITIAL = Int32Array.of(
  ...[0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19],
);
const W = new Int32Array(64);

/** Section 6.2.2, for each block of `data`. */
function compress(state: Int32Array, data: DataView): void {
  for (let at = 0; at < data.byteLength; at += 64) {
    let a = state[0] as number;
    let b = state[1] as number;
    let c = state[2] as number;
    let d = state[3] as number;
    let e = state[4] as number;
    let f = state[5] as number;
    let g = state[6] as number;
    let h = state[7] as number;
    for (let i = 0; i < 64; i++) {
      if (i < 16) W[i] = data.getInt32(at + 4 * i);
      else {
        const w2 = W[i - 2] as number;
        const w15 = W[i - 15] as number;
        const s0 = ((w15 >>> 7) | (w15 << 25)) ^ ((w15 >>> 18) | (w15 << 14)) ^ (w15 >>> 3);
        const s1 = ((w2 >>> 17) | (w2 << 15)) ^ ((w2 >>> 19) | (w2 << 13)) ^ (w2 >>> 10);
        W[i] = s1 + (W[i - 7] as number) + s0 + (W[i - 16] as number);
      }
      const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const t1 = h + s1 + (g ^ (e & (f ^ g))) + (K[i] as number) + (W[i] as number);
      const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      h = g;
      g = f;
      f = e;
      e = (d + t1) | 0;
      d = c;
      const t2 = s0 + ((a & b) | (c & (a | b)));
      c = b;
      b = a;
      a = (t1 + t2) | 0;
    }
    state[0] = (state[0] as number) + a;
    state[1] = (state[1] as number) + b;
    state[2] = (state[2] as number) + c;
    state[3] = (state[3] as number) + d;
    state[4] = (state[4] as number) + e;
    state[5] = (state[5] as number) + f;
    state[6] = (state[6] as number) + g;
    state[7] = (state[7] as number) + h;
  }
}

/** @param before bytes that the state holds already */
function digestOf(state: Int32Array, before: number, parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const padded = new Uint8Array((length + 72) & ~63);
  const view = new DataView(padded.buffer);
  let at = 0;
  for (const part of parts) {
    padded.set(part, at);
    at += part.length;
  }
  padded[at] = 0x80;
  view.setUint32(padded.length - 8, (before + length) / 2 ** 29);
  view.setUint32(padded.length - 4, (before + length) << 3);
  compress(state, view);
  const out = new DataView(new ArrayBuffer(32));
  for (let i = 0; i < 8; i++) out.setInt32(4 * i, state[i] as number);
  clean(padded, W, state);
  return new Uint8Array(out.buffer);
}

/**
 * What answers at once outside Node too: randomness of the platform, and hashes in plain JavaScript. SHA-256 is one function with
 * few numbers that the engine has to allocate, for a page's first call runs it before the engine has compiled it.
 */
export const hashes: Pick<ClientPrimitives, 'random' | 'sha256' | 'hmac' | 'equal'> = {
  random(length) {
    return globalThis.crypto.getRandomValues(new Uint8Array(length));
  },

  sha256(...parts) {
    return digestOf(INITIAL.slice(), 0, parts);
  },

  hmac(key, ...parts) {
    const pad = new Uint8Array(64);
    pad.set(key.length > 64 ? hashes.sha256(key) : key);
    const words = new Int32Array(pad.buffer);
    const view = new DataView(pad.buffer);
    for (let i = 0; i < 16; i++) words[i] = (words[i] as number) ^ 0x36363636;
    const inner = INITIAL.slice();
    compress(inner, view);
    for (let i = 0; i < 16; i++) words[i] = (words[i] as number) ^ (0x36363636 ^ 0x5c5c5c5c);
    const outer = INITIAL.slice();
    compress(outer, view);
    clean(pad);
    return digestOf(outer, 64, [digestOf(inner, 64, parts)]);
  },

  equal(a, b) {
    if (a.length !== b.length) return false;
    let difference = 0;
    for (let i = 0; i < a.length; i++) difference |= (a[i] ?? 0) ^ (b[i] ?? 0);
    return difference === 0;
  },
};
