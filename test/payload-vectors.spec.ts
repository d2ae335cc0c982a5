import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { decodeCalls, decodeReply, decodeValue, encodeValue, fromHex, toHex } from '@sealwire/core';
import { describe, expect, it } from 'vitest';
import { refusedPayloads } from './vectors/payload-vectors.js';

const folder = new URL('./vectors/', import.meta.url);
const read = (name: string) => JSON.parse(readFileSync(new URL(name, folder), 'utf8'));
const badPayload = expect.objectContaining({ code: 'bad_payload' });

describe('payloads that section 5.5 refuses', () => {
  const refused = refusedPayloads();

  it('are the committed ones', () => {
    expect(read('payloads-refused.json')).toStrictEqual(refused);
  });

  it.each(Object.entries(refused))('%s', (_, text) => {
    const bytes = fromHex(text);
    expect(() => decodeValue(bytes)).toThrow(badPayload);
    expect(() => decodeCalls(bytes)).toThrow(badPayload);
    expect(() => decodeReply(bytes)).toThrow(badPayload);
    // nor inside of another value
    expect(() => decodeValue(fromHex(`82${text}00`))).toThrow(badPayload);
  });

  it('are taken where they are one level less deep', () => {
    const { values } = read('payloads.json');
    const deepest = Object.entries<string>(values).filter(([name]) => / in \d\d arrays$/.test(name));
    expect(deepest).toHaveLength(6);
    for (const [name, text] of deepest) {
      expect(toHex(encodeValue(decodeValue(fromHex(text)))), name).toBe(text);
      expect(() => decodeValue(fromHex(`81${text}`)), name).toThrow(badPayload);
    }
  });

  // a machine without Python is covered by the comparison with cborg
  if (spawnSync('python3', ['--version']).status === 0) {
    it('are refused by a reader in Python, which takes the others', () => {
      const path = fileURLToPath(new URL('strict_cbor.py', folder));
      expect(execFileSync('python3', [path], { encoding: 'utf8' })).toMatch(
        new RegExp(`^${Object.keys(refused).length} payloads refused, \\d+ taken\n$`),
      );
    });
  }
});
