import { isCallable, knownOptions } from '@sealwire/core';
import { describe, expect, it } from 'vitest';

describe('knownOptions', () => {
  const known = ['url', 'serverKey', 'secureKey', 'timeout'];

  it('gives what the application gave, from its class too, and nothing that Object.prototype has', () => {
    class Options {
      timeout = 5;
      get url(): string {
        return 'x';
      }
    }
    Object.assign(Object.prototype, { secureKey: 'swk1' });
    try {
      const known = ['url', 'timeout', 'secureKey', 'serverKey'];
      expect({ ...knownOptions(new Options(), known, 'createRemote') }).toEqual({ url: 'x', timeout: 5 });
      expect('secureKey' in knownOptions({}, known, 'createRemote')).toBe(false);
      expect({ ...knownOptions({ secureKey: 'y' }, known, 'createRemote') }).toEqual({ secureKey: 'y' });
    } finally {
      Reflect.deleteProperty(Object.prototype, 'secureKey');
    }
  });

  it('takes what is known, also if it is undefined', () => {
    expect(() => knownOptions({ url: 'x', timeout: undefined }, known, 'createRemote')).not.toThrow();
  });

  it.each([
    ['secureKeys', 'did you mean `secureKey`?'],
    ['SECUREKEY', 'did you mean `secureKey`?'],
    ['serverkey', 'did you mean `serverKey`?'],
    ['tiemout', 'did you mean `timeout`?'],
    ['colour', 'it takes url, serverKey, secureKey, timeout.'],
  ])('names %s', (name, hint) => {
    expect(() => knownOptions({ [name]: 1 }, known, 'createRemote')).toThrow(
      expect.objectContaining({
        code: 'bad_configuration',
        message: `createRemote: unknown option \`${name}\`; ${hint}`,
      }),
    );
  });
});

describe('isCallable', () => {
  it.each([
    'then',
    'toJSON',
    'lift',
    'asymmetricMatch',
    '$batch',
    '@@observable',
    '__proto__',
    '__v_skip',
    'toString',
    '',
  ])('leaves %s to others', (name) => {
    expect(isCallable(name)).toBe(false);
  });

  it.each(['balance', 'subscribe', '_internal', 'get', 'münze'])('passes %s on', (name) => {
    expect(isCallable(name)).toBe(true);
  });
});
