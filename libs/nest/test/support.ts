import type { AddressInfo } from 'node:net';
import type { INestApplication } from '@nestjs/common';
import { generateKeyText, type HandshakeSuite, hedgedRandom, parseServerPrivateKey } from '@sealwire/core';
import { nodePrimitives } from '@sealwire/core/node';

export { only, PeerClient } from '../../../test/support/peer/client.js';
export { type Answer, post } from '../../../test/support/peer/http.js';

export const primitives = nodePrimitives;
export const suite: HandshakeSuite = { primitives, random: hedgedRandom(primitives) };
export const serverKeyText = generateKeyText('sws1', primitives);
export const serverKey = parseServerPrivateKey(serverKeyText, primitives);
export const secureKeyText = generateKeyText('swk1', primitives);

export function urlOf(app: INestApplication, path = '/remote/payments'): string {
  return `http://127.0.0.1:${(app.getHttpServer().address() as AddressInfo).port}${path}`;
}
