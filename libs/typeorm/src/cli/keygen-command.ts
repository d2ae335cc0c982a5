import { formatKeyText, generateKeyText, parseSecureKey, parseServerPrivateKey, toHex } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';
import { type Answer, type Command, UsageError } from './command.js';

const KINDS = { 'secure-key': secureKey, kek, 'server-key': serverKey };

export const keygen: Command = {
  usage: ['keygen [secure-key | kek | server-key]'],
  summary: "Makes keys from the system's randomness and prints them; stores nothing.",
  options: {},
  run({ words: [kind, ...rest] }) {
    if (rest.length > 0 || (kind !== undefined && !Object.hasOwn(KINDS, kind))) {
      throw new UsageError(`There are the kinds ${Object.keys(KINDS).join(', ')}.`);
    }
    const made = (kind === undefined ? Object.values(KINDS) : [KINDS[kind as keyof typeof KINDS]]).map((make) =>
      make(),
    );
    return {
      text: made.map(({ text }) => text).join('\n\n'),
      value: Object.assign({}, ...made.map(({ value }) => value)),
    };
  },
};

function secureKey(): Answer {
  const text = generateKeyText('swk1', nodePrimitives);
  const keyId = toHex(parseSecureKey(text).keyId);
  return {
    text: `# SecureKey ${keyId}: one for each client, which holds it too\nSEALWIRE_SECURE_KEY=${text}`,
    value: { secureKey: text, keyId },
  };
}

function kek(): Answer {
  const text = generateKeyText('swe1', nodePrimitives);
  return {
    text: `# key-encryption key: only for servers, wraps what the database keeps\nSEALWIRE_KEK=${text}`,
    value: { kek: text },
  };
}

function serverKey(): Answer {
  const text = generateKeyText('sws1', nodePrimitives);
  const publicKey = formatKeyText('swp1', parseServerPrivateKey(text, nodePrimitives).publicKey);
  return {
    text: `# server key: the private half is for servers, clients pin the public half\nSEALWIRE_SERVER_KEY=${text}\nSEALWIRE_SERVER_PUBLIC_KEY=${publicKey}`,
    value: { serverKey: text, serverPublicKey: publicKey },
  };
}
