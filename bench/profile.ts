import type { Profiler } from 'node:inspector';

export interface ProfileGroup {
  readonly name: string;
  /** of the time that the process was at work */
  readonly share: number;
}

/** The first match wins. The text is `function path`, with the path below the repository. */
const GROUPS: readonly (readonly [string, RegExp])[] = [
  ['garbage collection', /^\(garbage collector\)/],
  ['ML-KEM-768', /post-quantum|crypto[/](?:node|noble)-kem[.]js|@noble[/]hashes[/](?:sha3|_u64)/],
  ['X25519 and key objects', /^(?:statelessDH|initEDRaw|export) |diffiehellman|x25519|internal[/]crypto[/]key/i],
  ['AES-GCM', /internal[/]crypto[/]cipher|cipher|aesgcm/i],
  ['SHA-256, HMAC, HKDF', /internal[/]crypto[/](?:hash|hkdf)|hmac|sha256|@noble[/]hashes/i],
  ['other cryptography', /internal[/]crypto|core[/](?:dist|src)[/]crypto[/]|@noble/],
  ['Sealwire: payload', /core[/](?:dist|src)[/]payload|cborg/],
  ['Sealwire: core', /^\S* libs[/]core[/]/],
  ['Sealwire: nest', /^\S* libs[/]nest[/]/],
  ['Sealwire: store', /^\S* libs[/]typeorm[/]|node_modules[/](?:typeorm|pg[\w-]*)[/]/],
  ['validation', /node_modules[/]class-(?:validator|transformer)/],
  [
    'Express',
    /node_modules[/](?:express|router|body-parser|finalhandler|raw-body|iconv-lite|etag|qs|type-is|content-type)[/]/,
  ],
  ['Fastify', /node_modules[/](?:fastify|find-my-way|@fastify|light-my-request|avvio)[/]/],
  ['Nest and rxjs', /node_modules[/](?:@nestjs|rxjs)[/]/],
  // wall-clock time: on a busy machine also that of whom the write woke
  ['system calls and native code', /^\(program\)|^writev? |^write\w+String |^runMicrotasks /],
  ['Node: HTTP, streams, sockets', /node:/],
  ['application', /^\S* bench[/]/],
];
/** The profiler itself is at work in `dispatch`. */
const NO_WORK = /^\((?:idle|root)\)|^dispatch $/;
const ROOT = new URL('..', import.meta.url).href;

/** Shares of self time. What is native belongs to who called it, if its name does not say more. */
export function groupProfile({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): ProfileGroup[] {
  const groups = new Map<number, string>();
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)));
  for (const { id, callFrame } of nodes) {
    const frame = `${callFrame.functionName} ${callFrame.url.replace(ROOT, '')}`;
    if (NO_WORK.test(frame)) continue;
    const own = GROUPS.find(([, pattern]) => pattern.test(frame))?.[0];
    // a caller stands before whom it calls
    const callers = callFrame.url === '' ? groups.get(parents.get(id) ?? 0) : undefined;
    groups.set(id, own ?? callers ?? 'other');
  }
  const times = new Map<string, number>();
  let total = 0;
  samples.forEach((id, index) => {
    const name = groups.get(id);
    const time = timeDeltas[index] ?? 0;
    if (name === undefined) return;
    total += time;
    times.set(name, (times.get(name) ?? 0) + time);
  });
  return [...times]
    .map(([name, time]) => ({ name, share: time / total }))
    .sort((a, b) => b.share - a.share)
    .filter(({ share }) => share >= 0.005);
}
