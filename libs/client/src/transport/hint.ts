import { LIMITS, OUTER_STATUS, type OuterCode, SealwireError } from '@sealwire/core';
import type { CompleteResponse } from './transport.js';

/** An answer that is no frame, or none at all: unsealed, it proves nothing, whatever it says. */
export interface Hint {
  /** HTTP status; undefined if no answer came */
  readonly status: number | undefined;
  readonly code: OuterCode | undefined;
  /** milliseconds that it asks for */
  readonly wait: number;
  readonly error: unknown;
}

export function hintOf(response: CompleteResponse, url: string): Hint {
  const { status, retryAfter = 0 } = response;
  const code = outerCode(response);
  return { status, code, wait: retryAfter * 1000, error: errorOf(response, code, url) };
}

function errorOf(response: CompleteResponse, code: OuterCode | undefined, url: string): SealwireError {
  const { status, location } = response;
  if (code !== undefined) return new SealwireError(code, `The server answered HTTP ${status} ${code}.`);
  if (status >= 300 && status < 400) {
    const where = location === undefined ? '' : ` to ${location}`;
    return new SealwireError(
      'bad_configuration',
      `${url} answers with a redirect${where} (HTTP ${status}), which is not followed.`,
    );
  }
  return new SealwireError('bad_frame', `${url} answered HTTP ${status}, and not as a Sealwire server does.`);
}

export function hasType(response: CompleteResponse, type: string): boolean {
  return response.contentType.split(';')[0]?.trim().toLowerCase() === type;
}

/** The code of an unsealed refusal (RFC 9457), if it is one of ours with its own status. */
function outerCode(response: CompleteResponse): OuterCode | undefined {
  // a body of a proxy may be large and of any kind
  if (response.body.length > LIMITS.nonFrame || !hasType(response, 'application/problem+json')) return undefined;
  try {
    const { code } = JSON.parse(new TextDecoder().decode(response.body));
    return Object.hasOwn(OUTER_STATUS, code) && OUTER_STATUS[code as OuterCode] === response.status ? code : undefined;
  } catch {
    return undefined;
  }
}

/** The error that began it: what fetch throws wraps what the socket said, twice for a name with two addresses. */
export function deepestCause(error: unknown): unknown {
  let deepest = error;
  for (let level = 0; level < 8; level++) {
    const cause = deepest instanceof AggregateError ? deepest.errors.at(-1) : (deepest as Error | undefined)?.cause;
    if (cause === undefined || cause === null) break;
    deepest = cause;
  }
  return deepest;
}

export function checkUrl(url: string): void {
  const page = (globalThis as { location?: { href: string } }).location?.href;
  const parsed = URL.canParse(url, page) ? new URL(url, page) : undefined;
  if (parsed === undefined) {
    throw new SealwireError(
      'bad_configuration',
      `url must be absolute, as in https://example.com/remote/payments, not ${url}.`,
    );
  }
  if (parsed.username !== '' || parsed.password !== '') {
    throw new SealwireError(
      'bad_configuration',
      'url must hold no user and no password, which fetch refuses; use `headers`.',
    );
  }
  if (parsed.protocol === 'http:' || parsed.protocol === 'https:') return;
  throw new SealwireError('bad_configuration', `url must begin with https:// or http://, not ${parsed.protocol}//.`);
}

const CERTIFICATE = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|UNABLE_TO|SELF_SIGNED|HOSTNAME_|EPROTO)/;

/** Node says in the deepest cause whether the connection came about; elsewhere an error of fetch tells nothing. */
export function explained(error: unknown): unknown {
  const cause = deepestCause(error);
  const { code, syscall, message } = cause as { code?: unknown; syscall?: unknown; message?: string };
  if ((typeof code === 'string' && CERTIFICATE.test(code)) || message === 'bad port') {
    return new SealwireError('bad_configuration', `${message}${code === undefined ? '' : ` (${code})`}`, {
      cause: error,
    });
  }
  if (syscall === 'connect' || syscall === 'getaddrinfo' || code === 'UND_ERR_CONNECT_TIMEOUT') {
    return new SealwireError('unreachable', message, { cause: error });
  }
  return error;
}
