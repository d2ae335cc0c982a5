/** Runs in the page: holds the committed vectors against core, with the primitives of a browser. */
import {
  decodeCalls,
  decodeReply,
  decodeValue,
  encodeValue,
  finishHandshake,
  fromHex,
  type KeySize,
  openLiveResult,
  openResult,
  parseKeyText,
  receiveFinishAnswer,
  receiveStartAnswer,
  run,
  sealCall,
  startHandshake,
  toHex,
  UnitReader,
} from '@sealwire/core';
import { noblePrimitives } from '@sealwire/core/noble';
import { webPrimitives } from '@sealwire/core/webcrypto';

// biome-ignore lint/suspicious/noExplicitAny: vectors are JSON
type Json = any;
type Files = Record<string, Json>;
export type Checked = { values: number; wrong: string[] };

const KINDS = {
  noble: noblePrimitives,
  // a platform's own keys come from no seed, so the seeded ones are noble's; everything sealed is WebCrypto's
  webcrypto: { ...webPrimitives, x25519KeyPair: noblePrimitives.x25519KeyPair, kemKeyPair: noblePrimitives.kemKeyPair },
};

class Check {
  values = 0;
  readonly wrong: string[] = [];

  equal(what: string, got: unknown, expected: unknown): void {
    this.values++;
    if (JSON.stringify(got) !== JSON.stringify(expected))
      this.wrong.push(`${what}: ${JSON.stringify(got)?.slice(0, 80)}`);
  }

  async refuses(what: string, read: () => unknown): Promise<void> {
    this.values++;
    try {
      await read();
      this.wrong.push(`${what}: taken`);
    } catch (error) {
      if ((error as { code?: string }).code === undefined) this.wrong.push(`${what}: ${error}`);
    }
  }
}

export async function checkVectors(kind: keyof typeof KINDS, files: Files): Promise<Checked> {
  const check = new Check();
  const primitives = KINDS[kind];
  for (const name of Object.keys(files).filter((name) => name.startsWith('handshake-'))) {
    await handshake(check, primitives, name, files[name]);
  }
  for (const [name, exchange] of Object.entries<Json>(files.messages)) await message(check, primitives, name, exchange);
  await longMessage(check, primitives, files['message-chunked']);
  await liveResult(check, primitives, files.live);
  await payloads(check, files);
  for (const kind of ['swk1', 'swp1', 'sws1', 'swe1'] as const) {
    const bytes = parseKeyText(kind, files['key-texts'][kind].text);
    const { keyId = '', id = '', secret = '', publicKey = '', privateKey = '' } = files['key-texts'][kind];
    check.equal(kind, toHex(bytes), `${keyId}${id}${secret}${publicKey}${privateKey}`);
  }
  return check;
}

type Primitives = (typeof KINDS)['noble' | 'webcrypto'];

async function handshake(check: Check, primitives: Primitives, name: string, vector: Json): Promise<void> {
  const drawn = ['e_c', 'kemSeed', 'C1', 'A', 'C2', 'B', 'salt3'].map((what) => fromHex(vector.random[what]));
  const random = () => drawn.shift() ?? new Uint8Array();
  const started = await run(
    startHandshake(
      { primitives: { ...primitives, random }, random },
      {
        modulePath: vector.modulePath,
        keySize: vector.keySize,
        serverKey: vector.flags & 1 ? fromHex(vector.serverPublicKey) : undefined,
        secureKey: vector.secureKey ? { keyId: fromHex(vector.keyId), secret: fromHex(vector.secureKey) } : undefined,
      },
    ),
  );
  check.equal(`${name} step 1`, toHex(started.frame), vector.step1.frame);
  const answered = await run(receiveStartAnswer(started, fromHex(vector.step2.frame)));
  check.equal(`${name} session`, toHex(answered.sessionId), vector.sessionId);
  const asked = vector.step3.asked.map(({ sessionId, key, numbers }: Json) => ({
    sessionId: fromHex(sessionId),
    key: fromHex(key),
    numbers: numbers.map(({ lane, counter, digest }: Json) => ({ number: { lane, counter }, digest: fromHex(digest) })),
  }));
  const finishing = await run(finishHandshake(answered, asked, firstCalls(vector.step3.firstCalls)));
  check.equal(`${name} step 3`, toHex(finishing.frame), vector.step3.frame);
  if (vector.firstResult) {
    const key = { primitives, keySize: vector.keySize as KeySize, secret: finishing.firstResults };
    const { callHeader, frame, payload } = vector.firstResult;
    check.equal(`${name} first`, toHex(await run(openResult(key, fromHex(callHeader), fromHex(frame)))), payload);
  }
  const { secrets } = await run(receiveFinishAnswer(finishing, fromHex(vector.step4.frame)));
  for (const [what, secret] of Object.entries<Uint8Array>(secrets as Json)) {
    check.equal(`${name} ${what}`, toHex(secret), vector.secrets[what]);
  }
}

/** Payloads out of `u16 count || (u32 length || payload)...`. */
function firstCalls(hex: string): Uint8Array[] {
  const bytes = fromHex(hex);
  const view = new DataView(bytes.buffer);
  const payloads: Uint8Array[] = [];
  for (let at = 2; at < bytes.length; ) {
    const end = at + 4 + view.getUint32(at);
    payloads.push(bytes.slice(at + 4, end));
    at = end;
  }
  return payloads;
}

async function message(check: Check, primitives: Primitives, name: string, exchange: Json): Promise<void> {
  const { keySize, epoch, sessionId, number, clientToServer, serverToClient, call, result } = exchange;
  const up = { primitives, keySize, secret: fromHex(clientToServer) };
  const salt = fromHex(call.header).slice(-8);
  const sending = { epoch, sessionId: fromHex(sessionId), number };
  const sealed = await run(sealCall(up, sending, () => salt, fromHex(call.payload)));
  check.equal(`${name} call`, toHex(sealed.frame), call.frame);
  const down = { primitives, keySize, secret: fromHex(serverToClient) };
  const opened = await run(openResult(down, fromHex(call.header), fromHex(result.frame)));
  check.equal(`${name} result`, toHex(opened), result.payload);
  const cut = fromHex(result.frame);
  cut[cut.length - 1]! ^= 1;
  await check.refuses(`${name} changed`, () => run(openResult(down, fromHex(call.header), cut)));
}

async function longMessage(check: Check, primitives: Primitives, vector: Json): Promise<void> {
  const { keySize, serverToClient, call, result } = vector;
  const down = { primitives, keySize, secret: fromHex(serverToClient) };
  const opened = await run(openResult(down, fromHex(call.header), fromHex(result.frame)));
  check.equal('chunked', toHex(opened), toHex(Uint8Array.from({ length: result.bodyLength }, (_, i) => i % 251)));
}

async function liveResult(check: Check, primitives: Primitives, { result }: Json): Promise<void> {
  const key = { primitives, keySize: result.keySize, secret: fromHex(result.serverToClient) };
  const frame = fromHex(result.frame);
  const opener = openLiveResult(key, fromHex(result.callHeader), frame.subarray(0, 12));
  const reader = new UnitReader('result', 1000, 2);
  const units: unknown[] = [];
  // cut where the network might cut it
  for (let at = 12; at < frame.length; at += 50) {
    for (const body of await run(opener.push(frame.subarray(at, at + 50)))) {
      for (const { kind, stream, bytes } of reader.push(body)) units.push({ kind, stream, bytes: toHex(bytes) });
    }
  }
  opener.end();
  check.equal(
    'live result',
    units,
    result.pieces.flatMap((piece: Json) => piece.units),
  );
}

async function payloads(check: Check, files: Files): Promise<void> {
  for (const [name, hex] of Object.entries<string>(files.payloads.values)) {
    check.equal(name, toHex(encodeValue(decodeValue(fromHex(hex)))), hex);
  }
  for (const hex of Object.values<string>(files.payloads.calls))
    check.equal(hex, decodeCalls(fromHex(hex)).length > 0, true);
  for (const hex of Object.values<string>(files.payloads.replies)) decodeReply(fromHex(hex));
  for (const [name, hex] of Object.entries<string>(files['payloads-refused'])) {
    await check.refuses(name, () => decodeValue(fromHex(hex)));
  }
}

Object.assign(globalThis, { checkVectors });
