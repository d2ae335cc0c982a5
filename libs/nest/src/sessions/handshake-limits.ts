import { Inject, Injectable, Logger } from '@nestjs/common';
import { SealwireError } from '@sealwire/core';
import { SparseLog } from '../admin/sparse-log.js';
import type { ResolvedOptions } from '../options.js';
import { RESOLVED_OPTIONS } from '../tokens.js';
import type { Peer } from './peer.js';
import { AddressBuckets, TokenBucket } from './token-bucket.js';

const MINUTE = 60_000;
/** A step 1 that does not open costs the server a twentieth of one that it answers: no KEM, no key pair. */
const UNOPENED = 1 / 20;

/**
 * How many handshakes begin. An address pays only for a step 1 that opened and met the policy, so whoever shares it (behind a
 * proxy that is not trusted all clients do) is not shut out by bytes that nobody needs a key for. All addresses together pay for
 * what the processor does.
 */
@Injectable()
export class HandshakeLimits {
  private readonly addresses: AddressBuckets | undefined;
  private readonly total: TokenBucket | undefined;
  private readonly log = new SparseLog(MINUTE);
  private readonly totalLog = new SparseLog(MINUTE);
  private readonly logger = new Logger('Sealwire');
  private hinted = false;

  constructor(@Inject(RESOLVED_OPTIONS) { handshakeRate, handshakeRateTotal }: ResolvedOptions) {
    if (handshakeRate) this.addresses = new AddressBuckets(handshakeRate);
    if (handshakeRateTotal) this.total = new TokenBucket(handshakeRateTotal);
  }

  /** Before step 1 is tried. @throws SealwireError `busy` for all addresses together, `rate_limited` for one */
  ask(peer: Peer): void {
    this.hint(peer);
    if (this.total?.has() === false) {
      this.totalLog.warn(`Handshakes of all addresses together are limited (handshakeRateTotal), now ${peer.address}.`);
      throw new SealwireError('busy');
    }
    if (this.addresses?.has(peer.address) === false) {
      this.log.warn(`Handshakes of one address are limited (handshakeRate), now ${peer.address}.`);
      throw new SealwireError('rate_limited');
    }
  }

  opened(peer: Peer): void {
    this.total?.take();
    this.addresses?.take(peer.address);
  }

  unopened(): void {
    this.total?.take(UNOPENED);
  }

  /** Once, at first sight. */
  private hint(peer: Peer): void {
    if (this.hinted || !peer.forwardingIgnored) return;
    this.hinted = true;
    this.logger.warn(
      'A request came with X-Forwarded-For, which the platform does not trust: all clients behind that proxy count as one ' +
        "address. Name your proxies in Express's `trust proxy` or Fastify's `trustProxy`.",
    );
  }
}
