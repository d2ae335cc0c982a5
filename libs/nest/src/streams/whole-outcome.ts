import { encodeOutcome, type Outcome, OutgoingStreams } from '@sealwire/core';
import { asSource, streamIn } from './sources.js';

/** A stream stands in an outcome that can hold none. */
export class StreamRefusedError extends Error {
  override readonly name = 'StreamRefusedError';
}

/**
 * Encodes an outcome that may hold no stream; one that it holds is closed.
 *
 * @throws StreamRefusedError with that sentence; UnsupportedValueError
 */
export function encodeWhole(outcome: Outcome, sentence: string): Uint8Array {
  const streams = new OutgoingStreams();
  const bytes = encodeOutcome(outcome, {
    replace: (value) => {
      const stream = streamIn(value);
      return stream && streams.replace(asSource(stream));
    },
  });
  if (streams.size === 0) return bytes;
  const error = new StreamRefusedError(sentence);
  streams.cancel(error);
  throw error;
}
