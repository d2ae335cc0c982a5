import { CONTENT_TYPE, OUTER_STATUS, type OuterCode } from '@sealwire/core';

export interface PeerRequest {
  readonly contentType: string;
  readonly body: Uint8Array;
}

export interface PeerResponse extends PeerRequest {
  readonly status: number;
}

/** Thrown for an unsealed answer. */
export class Refusal extends Error {
  constructor(readonly outer: OuterCode) {
    super(outer);
  }
}

export function sealed(body: Uint8Array): PeerResponse {
  return { status: 200, contentType: CONTENT_TYPE, body };
}

export function refused(code: OuterCode): PeerResponse {
  const status = OUTER_STATUS[code];
  const body = new TextEncoder().encode(JSON.stringify({ type: 'about:blank', title: code, status, code }));
  return { status, contentType: 'application/problem+json', body };
}
