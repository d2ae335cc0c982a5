import {
  concat,
  decodeOutcome,
  encodeOutcome,
  hedgedRandom,
  type Replace,
  runSync,
  SealwireError,
} from '@sealwire/core';
import {
  encodeUnit,
  IncomingStreams,
  type LiveOpener,
  type LiveSealer,
  OutgoingStreams,
  openLiveResult,
  sealLiveCall,
  sealLiveResult,
  UNIT,
  UnitReader,
} from '@sealwire/core/live';
import { nodePrimitives as primitives } from '@sealwire/core/node';

export const random = hedgedRandom(primitives);
export const key = { primitives, keySize: 32 as const, secret: primitives.random(32) };
export const errorOf = (thrown: unknown) => ({ code: 'failed', message: String(thrown) });
export const revived = ({ code, message }: { code: string; message: string }) =>
  Object.assign(new Error(message), { code });

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function bytesOf(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** All that is ready has happened. */
export function settled(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 5));
}

/** Reads the units of a result, of which the first has come. */
export function behindRun(limit: number, calls: number): UnitReader {
  const reader = new UnitReader('result', limit, calls);
  reader.push(encodeUnit(UNIT.run, 0, new Uint8Array(16)));
  return reader;
}

export interface Wire {
  /** header || pieces, one a chunk */
  readonly chunks: Uint8Array[];
  readonly callHeader: Uint8Array;
}

/** A live result whose only outcome is that value, sealed. `write` may wait. */
export function sealing(value: unknown, wait: () => void | Promise<void> = () => undefined, replace?: Replace) {
  const callHeader = primitives.random(36);
  const out = new OutgoingStreams();
  out.send(UNIT.run, 0, new Uint8Array(16).fill(7));
  out.send(UNIT.outcome, 0, encodeOutcome({ ok: true, value }, { replace: replace ?? out.replace }));
  out.finish();
  const chunks: Uint8Array[] = [];
  let sealer: LiveSealer | undefined;
  const run = () =>
    out.run((parts, last) => {
      const body = concat(...parts);
      if (sealer) chunks.push(runSync(sealer.seal(body, last)));
      else {
        const begun = sealLiveResult(key, { epoch: 0, callHeader }, random, body, last);
        sealer = begun.sealer;
        chunks.push(begun.first);
      }
      return wait();
    }, errorOf);
  return { out, run, chunks, callHeader };
}

/** Sealed as a whole. */
export async function sealed(value: unknown): Promise<Wire> {
  const { run, chunks, callHeader } = sealing(value);
  await run();
  return { chunks, callHeader };
}

/** What a client makes of the bytes of a live result. */
export function reading(callHeader: Uint8Array, maximum = 1_000_000) {
  const streams = new IncomingStreams({ errorOf: revived });
  const units = new UnitReader('result', maximum, 1);
  let header = new Uint8Array();
  let opener: LiveOpener | undefined;
  const reader = {
    streams,
    units,
    value: undefined as unknown,
    async push(bytes: Uint8Array): Promise<void> {
      let rest = bytes;
      if (!opener) {
        const missing = 12 - header.length;
        header = new Uint8Array([...header, ...bytes.subarray(0, missing)]);
        rest = bytes.subarray(missing);
        if (header.length < 12) return;
        opener = openLiveResult(key, callHeader, header);
      }
      for (const body of runSync(opener.push(rest))) {
        for (const unit of units.push(body)) {
          if (unit.kind === UNIT.outcome) {
            const outcome = decodeOutcome(unit.bytes, { revive: streams.revive });
            if (outcome.ok) reader.value = outcome.value;
          } else if (unit.kind !== UNIT.run) await streams.accept(unit);
        }
      }
    },
    end(): void {
      if (!opener) throw new Error('no header');
      opener.end();
      if (streams.open > 0) throw new SealwireError('bad_payload');
    },
  };
  return reader;
}

/** `sealLiveCall` with the first piece sealed. */
export function beginCall(...parameters: Parameters<typeof sealLiveCall>) {
  const { sealer, first } = sealLiveCall(...parameters);
  return { sealer, first: runSync(first) };
}
