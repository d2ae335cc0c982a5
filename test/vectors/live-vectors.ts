import { concat, pad, toHex, u16, u32, utf8 } from '../../libs/core/src/bytes.js';
import { nodePrimitives as primitives } from '../../libs/core/src/crypto/node.js';
import { aeadKey, expand } from '../../libs/core/src/handshake/key-schedule.js';
import {
  encodeCalls,
  encodeReply,
  encodeValue,
  frameDigest,
  type MessageKey,
  runSync,
  StreamSource,
} from '../../libs/core/src/index.js';
import {
  encodeFailure,
  encodeUnit,
  OutgoingStreams,
  sealLiveCall,
  sealLiveResult,
  UNIT,
  type UnitKind,
} from '../../libs/core/src/live/index.js';
import { type Handshake, LANE, TERMS } from './handshake-vectors.js';
import { bytesFrom, hexed, notingSeals } from './recorder.js';

type Json = Record<string, unknown>;
type Units = readonly (readonly [UnitKind, number, Uint8Array])[];

const NOTHING = new Uint8Array();
const drawn = (name: string) => (length: number) => bytesFrom(name, length);
const RUN = bytesFrom('run id', 16);
const INFO = { name: 'a.csv', type: 'text/csv', size: 3 };

/** The references of streams in the order of their numbers. */
function streams(...sources: StreamSource[]) {
  const out = new OutgoingStreams();
  return { sources, replace: out.replace, resumable: out.replaceResumable };
}

const source = (kind: StreamSource['kind'], info = {}) => new StreamSource(kind, new Blob([]), info);

/** A live result with items, bytes, an error, an end; a live call with a file; options of a call. */
export function live(full: Handshake, short: Handshake): Json {
  const { sources, replace, resumable } = streams(source('items'), source('bytes', { version: 'v1', offset: 100 }));
  const [items, bytes] = sources;
  const outcome = encodeValue([0, { items, bytes }], { replace });
  const positioned = encodeValue([0, source('items')], { replace: resumable });
  const failure = encodeFailure({ code: 'late', message: 'Too late.', details: { status: 504 } });
  const resultUnits: Units[] = [
    [
      [UNIT.run, 0, RUN],
      [UNIT.progress, 1, encodeValue('half')],
      [UNIT.outcome, 0, outcome],
      [UNIT.item, 0, encodeValue(1250n)],
      [UNIT.data, 1, Uint8Array.of(1, 2, 3)],
    ],
    [[UNIT.pulse, 0, NOTHING]],
    [
      [UNIT.end, 0, NOTHING],
      [UNIT.error, 1, failure],
      [UNIT.outcome, 1, positioned],
      [UNIT.item, 2, encodeValue(['a', { cents: 5 }])],
      [UNIT.end, 2, NOTHING],
    ],
  ];
  const callHeader = bytesFrom('header of the call', 36);
  const result = notingSeals(primitives);
  const down = { primitives: result.primitives, keySize: full.keySize, secret: full.secrets.serverToClient };
  const file = streams(source('file', INFO));
  const payload = encodeCalls([{ name: 'keep', args: file.sources }], file);
  const callUnits: Units[] = [
    [[UNIT.payload, 0, payload]],
    [
      [UNIT.data, 0, utf8('a;b')],
      [UNIT.end, 0, NOTHING],
    ],
  ];
  const call = notingSeals(primitives);
  const up = { primitives: call.primitives, keySize: short.keySize, secret: short.secrets.clientToServer };
  const x = { epoch: 0, sessionId: short.sessionId, number: { lane: LANE, counter: 3 } };
  return {
    result: {
      ...{ keySize: full.keySize, serverToClient: toHex(down.secret), callHeader: toHex(callHeader) },
      ...message(resultUnits, result.seals, (body) =>
        sealLiveResult(down, { epoch: 0, callHeader }, drawn('live result salt'), body, false),
      ),
    },
    call: {
      ...{ keySize: short.keySize, clientToServer: toHex(up.secret) },
      ...message(callUnits, call.seals, (body) => {
        const { sealer, first } = sealLiveCall(up, x, drawn('live call salt'), body, false);
        return { sealer, first: runSync(first) };
      }),
    },
    status: toHex(encodeValue([1, 'session_ended'])),
    complete: toHex(reply(['items', [encodeValue(1250n), encodeValue({ cents: 5 })]])),
    options: options(),
  };
}

/** The payload of an ordinary result of one call, with those parts in tag 27. */
function reply(parts: readonly unknown[]): Uint8Array {
  return encodeReply({ outcomes: [{ ok: true, value: source('items') }] }, undefined, { replace: () => parts });
}

function message(
  pieces: readonly Units[],
  seals: ReturnType<typeof notingSeals>['seals'],
  begin: (body: Uint8Array) => ReturnType<typeof sealLiveResult>,
): Json {
  const bodies = pieces.map((units) => concat(...units.map((unit) => encodeUnit(...unit))));
  const { sealer, first } = begin(bodies[0] ?? NOTHING);
  const frame = concat(first, ...bodies.slice(1).map((body, i) => runSync(sealer.seal(body, i === bodies.length - 2))));
  return {
    header: toHex(sealer.header),
    digest: toHex(frameDigest(primitives, first)),
    pieces: seals.map(({ key, nonce, plaintext, sealed }, i) => ({
      units: pieces[i]?.map(([kind, stream, bytes]) => ({ kind, stream, bytes: toHex(bytes) })),
      ...{ key, nonce, plaintext, sealed },
    })),
    frame: toHex(frame),
  };
}

/** The bodies, joined, of live results of two calls. */
function resultUnits(): Json {
  const announced = (...parts: unknown[]) => encodeValue([0, source('items')], { replace: () => parts });
  const unit = (kind: number, stream: number, bytes: Uint8Array = NOTHING) =>
    encodeUnit(kind as UnitKind, stream, bytes);
  const run = unit(UNIT.run, 0, RUN);
  const [one, two] = [unit(UNIT.outcome, 0, announced('items', 0)), unit(UNIT.outcome, 1, encodeValue([0, 5]))];
  const progress = unit(UNIT.progress, 1, encodeValue('half'));
  const [item, end, pulse] = [unit(UNIT.item, 0, encodeValue(1)), unit(UNIT.end, 0), unit(UNIT.pulse, 0)];
  const status = (...parts: unknown[]) => unit(UNIT.status, 0, encodeValue([1, ...parts]));
  const whole = [one, two, item, end];
  const moved = ['lane_moved', LANE + 1, 'ran', TERMS.incarnation];
  return {
    calls: 2,
    taken: hexed([
      ['two outcomes', concat(run, progress, ...whole)],
      ['pulses', concat(run, pulse, one, two, pulse, item, end)],
      ['an end with its session', concat(run, one, item, status('session_ended'))],
      ['an end with its server', concat(run, status('busy'))],
    ]),
    refused: hexed([
      ['no unit', NOTHING],
      ['no run', concat(...whole)],
      ['a pulse before the run', concat(pulse, run, ...whole)],
      ['a run twice', concat(run, run, ...whole)],
      ['a run of 15 bytes', concat(unit(UNIT.run, 0, RUN.subarray(1)), ...whole)],
      ['a payload', concat(run, unit(UNIT.payload, 0, encodeValue([])), ...whole)],
      ['an outcome that is missing', concat(run, one, item, end)],
      ['an outcome twice', concat(run, two, ...whole)],
      ['an outcome of no call', concat(run, ...whole, unit(UNIT.outcome, 2, encodeValue([0, 5])))],
      ['progress behind its outcome', concat(run, two, progress, one, item, end)],
      ['a stream without end', concat(run, one, two, item)],
      ['an item before its stream is announced', concat(run, item, one, two, end)],
      ['a stream that nobody announced', concat(run, ...whole, unit(UNIT.item, 1, encodeValue(1)))],
      ['an item behind the end', concat(run, ...whole, item)],
      ['data in a sequence of items', concat(run, one, two, unit(UNIT.data, 0, RUN), end)],
      ['undefined in place of info', concat(run, unit(UNIT.outcome, 0, announced('items', 0, undefined)), two, end)],
      ['a unit behind the status', concat(run, status('busy'), pulse)],
      ['the beginning of a unit behind the status', concat(run, status('busy'), pulse.subarray(0, 3))],
      ['the status running', concat(run, one, status('running'))],
      ['the status never_ran of another lane', concat(run, one, status(...moved))],
      ['outcomes in place of a status', concat(run, one, unit(UNIT.status, 0, encodeValue([0, [0, 5]])))],
      ['a unit above the limit', concat(run, ...whole.slice(0, 2), unit(UNIT.item, 0, new Uint8Array(1001)), end)],
    ]),
  };
}

function options(): Json {
  const call = { name: 'watch', args: [] };
  return hexed([
    [
      'sent again',
      encodeCalls([{ ...call, resend: { callId: bytesFrom('call id', 16), incarnation: TERMS.incarnation } }]),
    ],
    ['gone on with', encodeCalls([{ ...call, resume: { run: RUN, position: 7 } }])],
    ['bytes gone on with', encodeCalls([{ ...call, resume: { run: RUN, position: 103, version: 'v1' } }])],
    [
      'with a deadline and metadata',
      encodeCalls([{ ...call, deadline: 500, metadata: { authorization: 'Bearer x' } }]),
    ],
  ]);
}

/** Live calls that a reader has to refuse, beside the nearest that it takes; the limit of a unit is 1000 bytes. */
export function refusedLive(): Json {
  const keySize = 16 as const;
  const secret = bytesFrom('secret of refused live calls', 32);
  const head = (flags: number) =>
    concat(Uint8Array.of(0x11, 1, flags, 0), bytesFrom('session', 16), u32(LANE), u32(5), bytesFrom('salt', 8));
  const sealed = (key: MessageKey, index: number, last: boolean, padded: Uint8Array, marked = last) => {
    const { key: aes, nonce } = aeadKey(expand(primitives, key.secret, utf8('call'), head(3)), keySize);
    const plain = concat(new Uint8Array(7), u32(index), Uint8Array.of(last ? 1 : 0));
    const bytes = primitives.seal(
      aes,
      nonce.map((byte, i) => byte ^ (plain[i] ?? 0)),
      head(3),
      padded,
    );
    return concat(u32(bytes.length | (marked ? 0x800000 : 0)).subarray(1), bytes);
  };
  const key = { primitives, keySize, secret };
  const of = (...chunks: Uint8Array[]) => concat(head(3), ...chunks);
  const sources = streams(source('file', INFO));
  const payload = encodeUnit(UNIT.payload, 0, encodeCalls([{ name: 'keep', args: sources.sources }], sources));
  const data = encodeUnit(UNIT.data, 0, Uint8Array.of(1, 2, 3));
  const end = encodeUnit(UNIT.end, 0, NOTHING);
  const bodies = (...list: Uint8Array[]) =>
    of(...list.map((body, i) => sealed(key, i, i === list.length - 1, pad(body))));
  const [a, b, c] = [payload, data, end].map((body, i) => sealed(key, i, i === 2, pad(body))) as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  const reference = (...parts: unknown[]) => {
    const bytes = encodeValue([['keep', [source('file', INFO)]]], {
      replace: (v) => (v instanceof StreamSource ? parts : undefined),
    });
    return encodeUnit(UNIT.payload, 0, bytes);
  };
  const unit = (kind: number, stream: number, bytes: Uint8Array) => encodeUnit(kind as UnitKind, stream, bytes);
  const twice = streams(source('items'), source('items'));
  const double = encodeValue([['keep', twice.sources]], {
    replace: (v) => (v instanceof StreamSource ? ['items', 0] : undefined),
  });
  return {
    keySize,
    clientToServer: toHex(secret),
    unitLimit: 1000,
    taken: hexed([
      ['three pieces', of(a, b, c)],
      ['one piece', bodies(concat(payload, data, end))],
      [
        'a unit in three pieces',
        bodies(payload.subarray(0, 3), payload.subarray(3, 30), concat(payload.subarray(30), data, end)),
      ],
      ['an empty piece', bodies(payload, NOTHING, concat(data, end))],
      ['a pulse', bodies(payload, unit(UNIT.pulse, 0, NOTHING), concat(data, end))],
      [
        'the end of a file from an offset on',
        bodies(concat(reference('file', 0, { ...INFO, offset: 2 }), unit(UNIT.data, 0, Uint8Array.of(3)), end)),
      ],
      ['an error', bodies(payload, unit(UNIT.error, 0, encodeFailure({ code: 'gone', message: '' })))],
    ]),
    refused: hexed([
      ['cut between two pieces', of(a, b)],
      ['cut inside a piece', of(a, b, c.subarray(0, 50))],
      ['no piece', head(3)],
      ['pieces swapped', of(b, a, c)],
      ['a piece dropped', of(a, c)],
      ['a piece doubled', of(a, b, b, c)],
      ['a byte behind the last piece', of(a, b, c, new Uint8Array(1))],
      ['a last piece that is not marked', of(a, b, sealed(key, 2, true, pad(end), false))],
      ['a piece marked as the last one', of(a, sealed(key, 1, false, pad(concat(data, end)), true))],
      ['a piece of less than 64 bytes', of(a, sealed(key, 1, true, concat(u32(0), new Uint8Array(20))))],
      ['a piece of more than 65536 bytes', of(sealed(key, 0, true, new Uint8Array(65_537)))],
      ['the flag alone', concat(head(2), a, b, c)],
      ['a whole frame with the flag', concat(head(3), a.subarray(3))],
      ['no payload', bodies(concat(data, end))],
      ['a payload twice', bodies(concat(payload, payload, end))],
      ['a stream that nobody announced', bodies(concat(payload, unit(UNIT.data, 1, Uint8Array.of(1)), end))],
      ['a stream announced twice', bodies(concat(unit(UNIT.payload, 0, double), end))],
      ['an item in a stream of bytes', bodies(concat(payload, unit(UNIT.item, 0, encodeValue(1)), end))],
      ['a file of fewer bytes than its size', bodies(concat(payload, unit(UNIT.data, 0, Uint8Array.of(1, 2)), end))],
      ['a file of more bytes than its size', bodies(concat(payload, data, unit(UNIT.data, 0, Uint8Array.of(4)), end))],
      [
        'a file from an offset on with more bytes than its size',
        bodies(concat(reference('file', 0, { ...INFO, offset: 2 }), data, end)),
      ],
      ['data behind the end', bodies(concat(payload, end, data))],
      ['a stream without end', bodies(concat(payload, data))],
      ['a unit without end', bodies(concat(payload, data, end.subarray(0, 6)))],
      ['an unknown kind', bodies(concat(payload, unit(10, 0, NOTHING), end))],
      ['an outcome', bodies(concat(payload, unit(UNIT.outcome, 0, encodeValue([0, 1])), end))],
      ['data of no byte', bodies(concat(payload, unit(UNIT.data, 0, NOTHING), end))],
      ['an end with a byte', bodies(concat(payload, unit(UNIT.end, 0, Uint8Array.of(0))))],
      ['a pulse of a stream', bodies(concat(payload, unit(UNIT.pulse, 1, NOTHING), end))],
      ['a unit above the limit', bodies(concat(payload, unit(UNIT.error, 0, new Uint8Array(1001))))],
      ['a file without its name', bodies(concat(reference('file', 0, { type: '' }), end))],
      ['a reference of an unknown kind', bodies(concat(reference('text', 0), end))],
      ['a reference with an unknown property', bodies(concat(reference('file', 0, { ...INFO, path: '/' }), end))],
      ['a number above 65535', bodies(concat(reference('items', 65_536), end, u16(0)))],
    ]),
    results: resultUnits(),
    ordinary: {
      taken: hexed([
        ['two items', reply(['items', [encodeValue(1), encodeValue([])]])],
        ['no item', reply(['items', []])],
      ]),
      refused: hexed([
        ['a number in place of items', reply(['items', 0])],
        ['a value in place of its bytes', reply(['items', [1]])],
        ['an item of no byte', reply(['items', [NOTHING]])],
        ['bytes', reply(['bytes', [Uint8Array.of(1)]])],
        ['a third part', reply(['items', [], {}])],
        ['no array', reply({ length: 0 } as never)],
      ]),
    },
  };
}
