import { afterEach, expect, it, vi } from 'vitest';

afterEach(() => {
  vi.unstubAllGlobals();
  vi.resetModules();
});

it.each([
  ['with', Buffer],
  ['without', undefined],
])('writes two digits for each byte of a view, %s the Buffer of Node', async (_, global) => {
  vi.stubGlobal('Buffer', global);
  const { fromHex, toHex } = await import('@sealwire/core');
  const all = Uint8Array.from({ length: 258 }, (_, i) => i - 1).subarray(1, 257);
  const text = Array.from({ length: 256 }, (_, i) => (i < 16 ? '0' : '') + i.toString(16)).join('');
  expect([toHex(all), toHex(new Uint8Array(0))]).toEqual([text, '']);
  expect(fromHex(text)).toEqual(all);
});
