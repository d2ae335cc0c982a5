import { createRemote } from '@sealwire/client';
import { sessionPersistence } from '@sealwire/client/persistence';
import { expect, it } from 'vitest';

const url = 'http://127.0.0.1:1/remote/things';

it('has an option, and no other', () => {
  for (const slots of [0, 65, 1.5, '4']) {
    expect(() => sessionPersistence({ slots } as never)).toThrow('slots must be 1 to 64.');
  }
  expect(() => sessionPersistence({ slot: 4 } as never)).toThrow('slot');
});

it('is refused as something else, and without encryption', () => {
  for (const persistence of [true, {}, null] as never[]) {
    expect(() => createRemote({ url, dangerouslyAllowAnyServer: true, persistence })).toThrow('sessionPersistence()');
  }
  expect(() => createRemote({ url, keySize: 0, persistence: sessionPersistence() })).toThrow('keySize 16 or 32');
});

it('finds nothing on Node', async () => {
  const remote = createRemote<{ add(): Promise<number> }>({
    ...{ url, dangerouslyAllowAnyServer: true, persistence: sessionPersistence(), timeout: 2_000 },
  });
  await expect(remote.add()).rejects.toMatchObject({ code: 'unreachable' });
  remote.$close();
});
