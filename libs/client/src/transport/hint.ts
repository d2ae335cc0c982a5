import type { OuterCode } from '@sealwire/core';
import { LIMITS, OUTER_STATUS, SealwireError } from '@sealwire/core/calls';
import { isOffline, pageOrigin } from './network.js';
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

/** No answer came, for this reason. */
export function lost(error: unknown): Hint {
  return { status: undefined, code: undefined, wait: 0, error };
}

/** What to do about refusals that another try would meet again. */
const ADVICE: Readonly<Partial<Record<OuterCode, string>>> = {
  handshake_failed:
    'Compare serverKey with the public key that the server logs at start, secureKey with the keys of the module, and modulePath ' +
    'with its path; the server never says which of them is wrong.',
  module_unknown: 'No module has this path: compare `url` with the `path` of forFeature().',
  version: 'The two sides speak different versions of the protocol: bring both to the same release.',
  bad_frame: 'Something on the way may have changed or cut what was sent, or its content type.',
  unsupported_media_type: 'Something on the way may have changed the content type.',
  encryption_required: 'Its calls must be sealed: leave out `keySize: 0`, and give serverKey or secureKey.',
};

function errorOf(response: CompleteResponse, code: OuterCode | undefined, url: string): SealwireError {
  const { status, location } = response;
  if (code !== undefined) {
    const advice = ADVICE[code] === undefined ? '' : ` ${ADVICE[code]}`;
    return new SealwireError(code, `The server answered HTTP ${status} ${code}.${advice}`);
  }
  if (status >= 300 && status < 400) {
    const where = location === undefined ? '' : ` to ${location}`;
    return new SealwireError(
      'bad_configuration',
      `${url} answers with a redirect${where} (HTTP ${status}), which is not followed: give the address that it leads to.`,
    );
  }
  const page = hasType(response, 'text/html') ? ' with an HTML page' : '';
  return new SealwireError(
    'bad_frame',
    `${url} answered HTTP ${status}${page}, and not as a Sealwire server does: ${adviceFor(status, page !== '')}.`,
  );
}

/** What to do about answers that servers on the way give of their own. */
const WAYS: Readonly<Record<number, string>> = {
  401: 'something before the server wants a log-in, so let it pass these requests, or give it what it asks for in `headers`',
  403: 'something before the server refuses these requests, so check `url`, or have POST to it let through',
  404: 'no module is there, so check the path and the global prefix in `url`',
  405: 'no module is there, so check the path and the global prefix in `url`',
  407: 'a proxy wants a log-in, so give it to the one who configures the proxy',
  413: 'something before the server takes no body of that length, so raise its limit',
  429: 'something before the server limits requests, so wait or raise its limit',
  431: 'the headers are too long, so send fewer in `headers` and fewer cookies',
  502: 'a proxy is there that does not reach the server behind it',
  503: 'a proxy is there that does not reach the server behind it',
  504: 'a proxy is there that does not reach the server behind it',
  511: 'this network wants a log-in first, so open any page of it in a browser',
};

function adviceFor(status: number, page: boolean): string {
  const known = WAYS[status];
  if (known !== undefined) return known;
  return page
    ? 'a proxy, a log-in page or another application is there, so check `url` and what stands before the server'
    : 'check `url`, and what stands before the server';
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

/** The error that began it, or one of this client that explains it: what fetch throws wraps what the socket said, twice for a name with two addresses. */
export function deepestCause(error: unknown): unknown {
  let deepest = error;
  for (let level = 0; level < 8 && !(deepest instanceof SealwireError); level++) {
    const cause = deepest instanceof AggregateError ? deepest.errors.at(-1) : (deepest as Error | undefined)?.cause;
    if (cause === undefined || cause === null) break;
    deepest = cause;
  }
  return deepest;
}

/** What answers begins with no record of TLS. */
const NO_TLS = /wrong version number|packet length too long/;
/** A certificate is looked at before anything else leaves. */
const CERTIFICATE = /^(ERR_TLS_CERT|CERT_|DEPTH_ZERO|UNABLE_TO|SELF_SIGNED|HOSTNAME_)/;
/** What TLS says of a handshake, and of a record at any time. */
const TLS = /^(ERR_SSL|EPROTO)/;

/**
 * What can be said of a request without an answer. Node says in the deepest cause whether the connection came about; a browser
 * says the same of a server that is not there and of one whose CORS rules refuse the page.
 *
 * @param fresh whether the connection is known never to have stood: whoever is on the way breaks TLS behind a request as well
 */
export function explained(error: unknown, url: string, signal: AbortSignal, fresh = false): unknown {
  const cause = deepestCause(error);
  const { code, syscall, message } = cause as { code?: unknown; syscall?: unknown; message?: string };
  const isTls = TLS.test(String(code));
  if (isTls || CERTIFICATE.test(String(code)) || message === 'bad port' || code === 'ERR_INVALID_URL') {
    const sentence = misconfigured(cause as Error & { code?: string }, url);
    return new SealwireError(isTls && !fresh ? 'bad_frame' : 'bad_configuration', sentence, { cause: error });
  }
  if (syscall === 'connect' || syscall === 'getaddrinfo' || code === 'UND_ERR_CONNECT_TIMEOUT') {
    return unreachable(error, url);
  }
  const page = pageOrigin();
  return error instanceof TypeError && error.cause === undefined && page !== undefined
    ? unanswered(error, new URL(url), page)
    : brokenOff(error, url, signal);
}

function misconfigured({ code, message }: Error & { readonly code?: string }, url: string): string {
  if (message === 'bad port')
    return `fetch goes to no such port as that of ${url}: let the server listen on another one`;
  if (code === undefined || code === 'ERR_INVALID_URL') return `${message} (${code})`;
  const { origin } = new URL(url);
  if (NO_TLS.test(message)) {
    return `${origin} speaks no TLS: write http:// in \`url\`, or the address of what ends TLS (${code}).`;
  }
  if (TLS.test(code)) return `TLS with ${origin} failed: ${message.trim()} (${code})`;
  return `${origin} has a certificate that is not trusted: ${message} (${code}). Correct the host in \`url\`, or make its authority known (NODE_EXTRA_CA_CERTS, or \`ca\` of httpTransport).`;
}

/** Something of an answer may have come, and not all of it. */
export function brokenOff(error: unknown, url: string, signal: AbortSignal): unknown {
  if (signal.aborted || error instanceof SealwireError) return error;
  const { message = '' } = deepestCause(error) as Error;
  const { origin } = new URL(url);
  return new SealwireError(
    'bad_frame',
    `${origin} gave no whole answer (${message.trim() || 'no reason was given'}): check \`url\`, and what stands before the server.`,
    { cause: error },
  );
}

/** An answer that looks like one of a server, and is none to what was sent. */
export function unopened(cause: unknown): Hint {
  const error = new SealwireError(
    'open_failed',
    'An answer came that does not open: another server answers, or something on the way or an interceptor of the application ' +
      'changes, cuts or caches bodies.',
    { cause },
  );
  return { status: 200, code: undefined, wait: 0, error };
}

/** The connection never stood. */
export function unreachable(error: unknown, url: string): SealwireError {
  const { message } = deepestCause(error) as Error;
  const { origin } = new URL(url);
  return new SealwireError(
    'unreachable',
    `Nothing answers at ${origin}; start the server or correct \`url\`: ${message}`,
    { cause: error },
  );
}

/** It has no cause, for what the browser said is in it. */
function unanswered({ message }: TypeError, { origin, protocol }: URL, page: string): Error {
  if (isOffline()) return new Error(`${origin} gave no answer (${message}): this device is offline.`);
  const hints = [
    'no server is there, or something on the way or in the browser blocks it (an extension, connect-src of the page)',
  ];
  if (origin !== page) {
    hints.push(
      `or its CORS rules refuse ${page}: they must allow POST with the header content-type, and answer every status`,
    );
  }
  if (page.startsWith('https:') && protocol === 'http:')
    hints.push('or the browser refuses http: from a page of https:');
  return new Error(`${origin} gave no answer (${message}); ${hints.join(', ')}.`);
}
