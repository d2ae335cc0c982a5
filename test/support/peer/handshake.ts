import {
  answerStart,
  type CookieKey,
  type FinishOpened,
  type HandshakeSuite,
  hedgedRandom,
  type KeySize,
  makeSessionId,
  openCookie,
  openFinish,
  type Primitives,
  parseFinish,
  parseStart,
  type SecureKey,
  type ServerHandshakeConfig,
  type ServerOptions,
  sealCookie,
} from '@sealwire/core';

export function suiteOf(primitives: Primitives): HandshakeSuite {
  return { primitives, random: hedgedRandom(primitives) };
}

/** The server's role in a handshake: its keys, its answer to step 1, and what step 3 holds. */
export function serverHandshake(modulePath: string, options: ServerOptions, primitives: Primitives) {
  const server = suiteOf(primitives);
  const serverKey = primitives.x25519KeyPair(primitives.random(32));
  const secureKey: SecureKey = { keyId: primitives.random(8), secret: primitives.random(32) };
  const cookieKey: CookieKey = { id: primitives.random(4), key: primitives.random(32) };
  const sessionIdKey = primitives.random(32);
  const serverConfig: ServerHandshakeConfig = {
    ...{ modulePath, options, serverKey, secureKey: secureKey.secret },
    sessionId: (random10) => makeSessionId(primitives, sessionIdKey, modulePath, random10),
  };

  /** @param config what that server has otherwise than it should */
  function answer1(frame: Uint8Array, config: Partial<ServerHandshakeConfig> = {}): Uint8Array {
    return answerStart(server, { ...serverConfig, ...config }, parseStart(frame), (state) =>
      sealCookie(server, cookieKey, modulePath, { ...state, issued: 1 }),
    );
  }

  function open3(frame: Uint8Array): FinishOpened & { keySize: KeySize } {
    const finish = parseFinish(frame);
    const state = openCookie(primitives, cookieKey, modulePath, finish.cookie);
    return { ...openFinish(server, state, finish), keySize: state.keySize };
  }

  return { server, serverKey, secureKey, cookieKey, sessionIdKey, serverConfig, answer1, open3 };
}

/** Core reads what it enforces first, and everything when it states the options. */
export function statedLater(enforced: ServerOptions, stated: ServerOptions): ServerOptions {
  const read = new Set<string | symbol>(['force', 'pins', 'incarnation', 'maxBody', 'age', 'maxUpload', 'pulse']);
  return new Proxy(enforced, {
    get(target, name) {
      const source = read.has(name) ? stated : target;
      read.add(name);
      return Reflect.get(source, name);
    },
  });
}
