/** Unsealed answers of a server and their HTTP status (PROTOCOL.md section 7.1). They are hints: anybody on the way can forge them. */
export const OUTER_STATUS = {
  bad_frame: 400,
  version: 400,
  handshake_failed: 400,
  module_unknown: 404,
  session_unknown: 409,
  handshake_used: 409,
  too_large: 413,
  unsupported_media_type: 415,
  encryption_required: 426,
  rate_limited: 429,
  internal: 500,
  busy: 503,
} as const;
/** Code of an unsealed answer, see {@link OUTER_STATUS}. */
export type OuterCode = keyof typeof OUTER_STATUS;

/** Answers for a whole message that travel sealed (PROTOCOL.md section 7.2). */
export type SealedStatus =
  | 'number_conflict'
  | 'number_too_old'
  | 'running'
  | 'result_gone'
  | 'outcome_unknown'
  | 'lane_moved'
  | 'session_ended'
  | 'busy';

/** Codes that this library reports on its own side. No such code is ever sent. */
export type LocalCode =
  | 'open_failed'
  | 'bad_payload'
  | 'unsupported_value'
  | 'bad_key'
  | 'bad_configuration'
  | 'policy'
  | 'channel_blocked'
  | 'timeout'
  | 'unreachable'
  | 'stream_cut'
  | 'stream_changed'
  | 'closed';

/** Every code that a {@link SealwireError} can carry. */
export type ErrorCode = OuterCode | SealedStatus | LocalCode;

const MESSAGES: Partial<Record<ErrorCode, string>> = {
  bad_frame: 'The body is not a frame that this server can open.',
  version: 'The frame is of a protocol version that this server does not speak.',
  handshake_failed: 'The handshake failed.',
  module_unknown: 'There is no such module.',
  session_unknown: 'The session is not known here.',
  handshake_used: 'This handshake was finished before.',
  too_large: 'The body is larger than this module accepts.',
  unsupported_media_type: 'The content type is not one that this module accepts.',
  encryption_required: 'This module accepts encrypted calls only.',
  rate_limited: 'Too many handshakes; try again later.',
  internal: 'The server could not answer.',
  busy: 'The server cannot take this call right now; try again later.',
  open_failed: 'The frame did not open.',
  bad_payload: 'The payload is malformed.',
  stream_cut: 'The stream was cut before its end.',
  stream_changed: 'The stream cannot be continued: it is not the one that was cut.',
};

/**
 * What to tell of something that was thrown, which may be anything.
 *
 * @example
 * thrownText(new Error('The disk is full.')); // The disk is full.
 * thrownText(Object.create(null)); // something that is no text
 */
export function thrownText(thrown: unknown): string {
  try {
    if (!(thrown instanceof Error)) return String(thrown);
    // of a name with several addresses Node tells the failure of each, and nothing of them all
    const each = !thrown.message && thrown instanceof AggregateError ? thrown.errors.map(thrownText).join(', ') : '';
    return String(thrown.message || each || thrown.name);
  } catch {
    return 'something that is no text';
  }
}

/**
 * An error of the protocol or of its use, with a code of the closed union {@link ErrorCode}.
 *
 * @example
 * try {
 *   decodeValue(Uint8Array.of(0xff));
 * } catch (error) {
 *   if (error instanceof SealwireError && error.code === 'bad_payload') console.log('The bytes are no payload.');
 * }
 */
export class SealwireError extends Error {
  override readonly name: string = 'SealwireError';

  constructor(
    readonly code: ErrorCode,
    message: string = MESSAGES[code] ?? code,
    // no ErrorOptions: applications for ES2018 do not have the type
    options?: { readonly cause?: unknown },
  ) {
    super(message, options);
  }
}

/**
 * A stream that was cut before its authenticated end.
 *
 * @example
 * const error = new StreamCutError({ items: 20 });
 * console.log(error.code, error.details); // stream_cut { items: 20 }
 */
export class StreamCutError extends SealwireError {
  constructor(
    /** what had arrived of the stream */
    readonly details: { readonly items: number } | { readonly bytes: number },
    options?: { readonly cause?: unknown },
    message?: string,
  ) {
    super('stream_cut', message, options);
  }
}

/**
 * Returns the one constant sentence that stands for an unsealed answer.
 *
 * @example
 * outerMessage('rate_limited'); // Too many handshakes; try again later.
 */
export function outerMessage(code: OuterCode): string {
  return MESSAGES[code] ?? code;
}
