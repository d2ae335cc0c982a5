import { aesLoad, joseLoad, jsonLoad, type Loader, sealedLoad } from './loads.js';

export interface Contender {
  readonly title: string;
  /** what bench/server.ts starts for it, in a process of its own */
  readonly server: string;
  readonly load: Loader;
  /** calls in one request, 1 by default */
  readonly calls?: number;
}

const BATCH = 16;
const json = jsonLoad('/json/echo');

export const CONTENDERS = {
  node: { title: 'node:http, JSON', server: 'node-json', load: jsonLoad('/') },
  aes: { title: 'node:http, AES-GCM pair', server: 'node-aes', load: aesLoad },
  trpc: { title: 'tRPC, standalone', server: 'trpc', load: jsonLoad('/echo', undefined, trpcData) },
  orpc: {
    title: 'oRPC, node:http',
    server: 'orpc',
    load: jsonLoad('/echo', (value) => ({ json: value }), orpcData),
  },
  jose: { title: 'Nest + Express, JWE (jose)', server: 'jose', load: joseLoad },
  nest: { title: 'Nest + Express, JSON', server: 'nest-express', load: json },
  nestFastify: { title: 'Nest + Fastify, JSON', server: 'nest-fastify', load: json },
  nestGuarded: { title: 'Nest + Express, JSON, guard and ValidationPipe', server: 'nest-guarded', load: json },
  sealed: { title: 'sealed call', server: 'sealed-express', load: sealedLoad(1) },
  sealedBatch: { title: `sealed batch of ${BATCH}`, server: 'sealed-express', load: sealedLoad(BATCH), calls: BATCH },
  sealedFastify: { title: 'sealed call, Nest + Fastify', server: 'sealed-fastify', load: sealedLoad(1) },
  sealedGuarded: { title: 'sealed call, guard and ValidationPipe', server: 'sealed-guarded', load: sealedLoad(1) },
  sameApplication: { title: 'JSON controller of the same application', server: 'sealed-express', load: json },
} satisfies Record<string, Contender>;

export type ContenderName = keyof typeof CONTENDERS;

/** Whatever others are held against. */
export const CONTROL: ContenderName = 'nest';

function trpcData(answer: unknown): unknown {
  return (answer as { result: { data: unknown } }).result.data;
}

function orpcData(answer: unknown): unknown {
  return (answer as { json: unknown }).json;
}
