import { concat, pad, toHex, u16, u32, utf8 } from '../../libs/core/src/bytes.js';
import { nodePrimitives as primitives } from '../../libs/core/src/crypto/node.js';
import { encodeServerOptions } from '../../libs/core/src/handshake/frames.js';
import { aeadKey, expand } from '../../libs/core/src/handshake/key-schedule.js';
import {
  encodeAnswers,
  encodeFirstCalls,
  encodeRenewalAnswers,
  encodeRenewals,
} from '../../libs/core/src/handshake/renewal.js';
import { type KeySize, LIMITS } from '../../libs/core/src/index.js';
import { LANE, OLD, SECURE_KEY, SERVER_OPTIONS } from './handshake-vectors.js';
import { bytesFrom } from './recorder.js';

type Json = Record<string, unknown>;

/** What a reader has to refuse, each beside the nearest thing that it takes. */
export function refused(): Json {
  return {
    keyTexts: keyTexts(),
    padding: padding(),
    serverOptions: serverOptions(),
    renewals: renewals(),
    renewalAnswers: renewalAnswers(),
    firstCalls: firstCalls(),
    firstAnswers: firstAnswers(),
    messages: messages(),
  };
}

function keyTexts(): Json {
  const [kind = '', encoded = '', checksum = ''] = SECURE_KEY.split('.');
  const digit = checksum.endsWith('0') ? '1' : '0';
  return {
    kind,
    taken: { 'as it is': SECURE_KEY, 'white space around it': `\n ${SECURE_KEY}\t` },
    refused: {
      'a passphrase': 'correct horse battery staple',
      nothing: '',
      'another kind': `swp1.${encoded}.${checksum}`,
      'an unknown kind': `swk2.${encoded}.${checksum}`,
      'no checksum': `${kind}.${encoded}`,
      'another checksum': `${kind}.${encoded}.${checksum.slice(0, -1)}${digit}`,
      'a checksum in upper case': `${kind}.${encoded}.${'ABCDEF00'}`,
      'a fourth part': `${SECURE_KEY}.`,
      'one byte less': `${kind}.${encoded.slice(0, -2)}.${checksum}`,
      'padding of base64': `${kind}.${encoded}==.${checksum}`,
      'the other alphabet of base64': `${kind}.+/${encoded.slice(2)}.${checksum}`,
      // 40 bytes leave two unused bits in the last digit
      'unused bits set': `${kind}.${encoded.slice(0, -1)}${String.fromCharCode(encoded.charCodeAt(encoded.length - 1) + 1)}.${checksum}`,
      'white space inside': `${kind}.${encoded.slice(0, 9)} ${encoded.slice(9)}.${checksum}`,
    },
  };
}

function padding(): Json {
  const body = bytesFrom('padded body', 66);
  const exact = pad(body);
  const resized = (length: number) => {
    const out = new Uint8Array(length);
    out.set(exact.subarray(0, length));
    return out;
  };
  const dirty = exact.slice();
  dirty[exact.length - 1] = 1;
  return {
    taken: { 'as it is': toHex(exact) },
    refused: hexed({
      'no bytes': new Uint8Array(),
      'less than a length': new Uint8Array(3),
      'no padding': resized(70),
      'one byte less': resized(exact.length - 1),
      'one byte more': resized(exact.length + 1),
      'the next length of Padmé': resized(80),
      'a length beyond the end': concat(u32(exact.length - 3), exact.subarray(4)),
      'a huge length': concat(u32(0xffffffff), exact.subarray(4)),
      'something behind the body': dirty,
      'less than 64 bytes': concat(u32(0), new Uint8Array(28)),
    }),
  };
}

function serverOptions(): Json {
  const exact = encodeServerOptions(SERVER_OPTIONS);
  const changed = (at: number, value: number) => exact.map((byte, i) => (i === at ? value : byte));
  return {
    taken: { 'as it is': toHex(exact) },
    refused: hexed({
      'an unknown policy bit': changed(0, 9),
      'a keySize of 24': changed(1, 24),
      'a keySize of 0': changed(1, 0),
      'another suite too': changed(3, 3),
      'no suite': changed(3, 0),
      'five keys': changed(4, 5),
      'something in the place of a second key': changed(9, 1),
      'an age above 2^53 - 1': changed(33, 1),
      'a maxUpload above 2^53 - 1': changed(41, 1),
      'a reserved byte': changed(51, 1),
      'the last reserved byte': changed(63, 1),
    }),
  };
}

function renewals(): Json {
  const proof = bytesFrom('proof', 16);
  const block = encodeRenewals([OLD.renewed, OLD.lost].map(({ key: _, ...renewal }) => ({ ...renewal, proof })));
  const one = encodeRenewals([{ ...OLD.lost, numbers: [], proof }]).slice(1);
  const many = (count: number) => concat(OLD.lost.sessionId, proof, u16(count), new Uint8Array(24 * count));
  return {
    taken: hexed({
      none: Uint8Array.of(0),
      two: block,
      four: concat(Uint8Array.of(4), one, one, one, one),
      '256 numbers': concat(Uint8Array.of(2), many(200), many(56)),
    }),
    refused: hexed({
      'no count': new Uint8Array(),
      five: concat(Uint8Array.of(5), one, one, one, one, one),
      '257 numbers': concat(Uint8Array.of(2), many(200), many(57)),
      'one byte less': block.slice(0, -1),
      'one byte more': concat(block, new Uint8Array(1)),
      'one fewer than counted': concat(Uint8Array.of(3), block.subarray(1)),
    }),
  };
}

function renewalAnswers(): Json {
  const frame = bytesFrom('a result frame', 40);
  const list = {
    proof: bytesFrom('proof', 16),
    answers: [{ known: 'ran' as const }, { known: 'result' as const, frame }],
  };
  const block = encodeRenewalAnswers([list, { ...list, answers: [] }]);
  const empty = encodeRenewalAnswers([{ ...list, answers: [] }]).slice(1);
  const many = (count: number) => concat(Uint8Array.of(1), list.proof, u16(count), new Uint8Array(count));
  return {
    taken: hexed({ none: Uint8Array.of(0), two: block, '256 answers': many(256) }),
    refused: hexed({
      'no count': new Uint8Array(),
      five: concat(Uint8Array.of(5), empty, empty, empty, empty, empty),
      '257 answers': many(257),
      'one byte less': block.slice(0, -1),
      'one byte more': concat(block, new Uint8Array(1)),
      'an answer of no kind': concat(Uint8Array.of(1), list.proof, u16(1), Uint8Array.of(5)),
      'a frame longer than the block': concat(
        Uint8Array.of(1),
        list.proof,
        u16(1),
        Uint8Array.of(3),
        u32(2),
        frame.slice(0, 1),
      ),
    }),
  };
}

function firstCalls(): Json {
  const block = encodeFirstCalls([bytesFrom('first', 9), bytesFrom('second', 3)]);
  return {
    taken: hexed({ none: u16(0), two: block, 256: concat(u16(256), new Uint8Array(4 * 256)) }),
    refused: hexed({
      nothing: new Uint8Array(),
      257: concat(u16(257), new Uint8Array(4 * 257)),
      'one byte less': block.slice(0, -1),
      'one byte more': concat(block, new Uint8Array(1)),
      'a payload longer than the block': concat(u16(1), u32(0xffffffff)),
    }),
  };
}

function firstAnswers(): Json {
  const block = encodeAnswers([{ known: 'running' }, { known: 'result', frame: bytesFrom('a result frame', 40) }]);
  return {
    taken: hexed({ none: u16(0), two: block }),
    refused: hexed({
      nothing: new Uint8Array(),
      257: concat(u16(257), new Uint8Array(257)),
      'one byte less': block.slice(0, -1),
      'one byte more': concat(block, new Uint8Array(1)),
      'an answer of no kind': concat(u16(1), Uint8Array.of(5)),
    }),
  };
}

/** Calls under one secret, in pieces of the sender's choice. */
function messages(): Json {
  const keySize: KeySize = 16;
  const secret = bytesFrom('secret of refused calls', 32);
  const head = (flags: number) =>
    concat(Uint8Array.of(0x11, 1, flags, 0), bytesFrom('session', 16), u32(LANE), u32(5), bytesFrom('salt', 8));
  const seal = (header: Uint8Array, index: number, last: boolean, piece: Uint8Array) => {
    const { key, nonce } = aeadKey(expand(primitives, secret, utf8('call'), header), keySize);
    const plain = concat(new Uint8Array(7), u32(index), Uint8Array.of(last ? 1 : 0));
    return primitives.seal(
      key,
      nonce.map((byte, i) => byte ^ (plain[i] ?? 0)),
      header,
      piece,
    );
  };
  const piece = (sealed: Uint8Array) => concat(u32(sealed.length).subarray(1), sealed);
  const inPieces = (padded: Uint8Array, sizes: number[]) => {
    let at = 0;
    return sizes.map((size, i) => {
      at += size;
      return piece(seal(head(1), i, i === sizes.length - 1, padded.subarray(at - size, at)));
    });
  };
  const least = LIMITS.minimumChunk;
  const padded = pad(bytesFrom('a body in pieces', 3000));
  const [a, b, c] = inPieces(padded, [least, least, padded.length - 2 * least]) as [Uint8Array, Uint8Array, Uint8Array];
  const of = (...pieces: Uint8Array[]) => concat(head(1), ...pieces);
  const single = (flags: number, text: Uint8Array) => concat(head(flags), seal(head(flags), 0, true, text));
  const small = pad(bytesFrom('a body', 20));
  const whole = single(0, small);
  const zeros = (length: number) => new Uint8Array(length);
  return {
    keySize,
    clientToServer: toHex(secret),
    taken: hexed({
      'one piece': whole,
      'one piece, chunked': of(piece(seal(head(1), 0, true, small))),
      'three pieces': of(a, b, c),
      'a last piece of one byte': of(...inPieces(padded, [padded.length - 1, 1])),
      'a last piece of no byte': of(...inPieces(padded, [padded.length, 0])),
    }),
    refused: hexed({
      'two pieces swapped': of(b, a, c),
      'the last piece moved': of(a, c, b),
      'a piece dropped': of(a, c),
      'the first piece dropped': of(b, c),
      'the last piece dropped': of(a, b),
      'a piece doubled': of(a, b, b, c),
      'the last piece doubled': of(a, b, c, c),
      'no piece': of(),
      'a piece cut': of(a, b, c.subarray(0, c.length - 1)),
      'bytes behind the last piece': of(a, b, c, zeros(2)),
      'a piece one byte shorter than allowed': of(...inPieces(padded, [least - 1, padded.length - least + 1])),
      'a piece of no byte': of(...inPieces(padded, [0, padded.length])),
      'a piece one byte longer than allowed': of(
        ...inPieces(zeros(LIMITS.chunk + 1 + least), [LIMITS.chunk + 1, least]),
      ),
      'one piece without its flag': concat(head(0), piece(seal(head(0), 0, true, small))),
      'a reserved flag': single(2, small),
      'another version': whole.map((byte, i) => (i === 1 ? 2 : byte)),
      'another type': whole.map((byte, i) => (i === 0 ? 0x12 : byte)),
      'another epoch in the header': whole.map((byte, i) => (i === 3 ? 1 : byte)),
      'sealed, but not padded': single(0, concat(u32(2), zeros(2))),
      'sealed, but padded too much': single(0, concat(small, zeros(64))),
      'sealed, with something behind the body': single(0, concat(small.subarray(0, 63), Uint8Array.of(1))),
      'shorter than a header and a tag': whole.subarray(0, 51),
    }),
  };
}

function hexed(all: Record<string, Uint8Array>): Record<string, string> {
  return Object.fromEntries(Object.entries(all).map(([name, bytes]) => [name, toHex(bytes)]));
}
