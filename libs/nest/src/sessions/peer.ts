import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP, isIPv6 } from 'node:net';
import type { ResolvedOptions } from '../options.js';

/** The addresses of whoever sent a frame. Each is worked out when it is asked for: a warm call asks for none. */
export interface Peer {
  /** for limits, logs and events: IPv4, or the first 64 bits of IPv6 (`2001:db8:0:1::/64`) */
  readonly address: string;
  /** what sessions are locked to; undefined if they are not */
  readonly lock: string | undefined;
  /** A proxy tells of an address, and the platform is not set up to take it from there. */
  readonly forwardingIgnored: boolean;
}

/** The request that a platform hands to its routes. Express hands out Node's own, Fastify wraps it. */
export interface PlatformRequest {
  readonly raw?: IncomingMessage;
  /** what the platform makes of the connection and, if it trusts a proxy, of X-Forwarded-For */
  readonly ip?: string;
}

/** The request that brought a message. */
export interface Arrival {
  readonly node: IncomingMessage;
  /** the platform's; made when somebody asks for it */
  readonly request: PlatformRequest;
  /** of Node */
  readonly answer: ServerResponse;
}

export function peerOf(arrival: Arrival, peerLock: ResolvedOptions['peerLock']): Peer {
  return new ArrivalPeer(arrival, peerLock);
}

/**
 * The same, worked out at once: a handshake asks for it after it waited for the store, when a stream of HTTP/2 that was reset has no
 * address any more.
 */
export function senderOf(arrival: Arrival, peerLock: ResolvedOptions['peerLock']): Peer {
  const { address, lock, forwardingIgnored } = peerOf(arrival, peerLock);
  return { address, lock, forwardingIgnored };
}

class ArrivalPeer implements Peer {
  constructor(
    private readonly arrival: Arrival,
    private readonly peerLock: ResolvedOptions['peerLock'],
  ) {}

  get address(): string {
    return networkOf(this.forwarded());
  }

  get lock(): string | undefined {
    if (this.peerLock === 'none') return undefined;
    return this.peerLock === 'ip' ? this.connection() : this.forwarded();
  }

  get forwardingIgnored(): boolean {
    return this.arrival.node.headers['x-forwarded-for'] !== undefined && this.forwarded() === this.connection();
  }

  /** X-Forwarded-For is a text that anybody may send: what is no address counts as the connection's. */
  private forwarded(): string {
    const { ip } = this.arrival.request;
    return ip !== undefined && isIP(ip) !== 0 ? withoutMapping(ip) : this.connection();
  }

  private connection(): string {
    return withoutMapping(this.arrival.node.socket.remoteAddress ?? '');
  }
}

/** An IPv4 address that a socket of both families writes as IPv6. */
function withoutMapping(address: string): string {
  return /^::ffff:([\d.]+)$/i.exec(address)?.[1] ?? address;
}

/** One subscriber has 2^64 addresses of IPv6. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address;
  const [head = '', tail] = (address.split('%', 1)[0] ?? '').split('::', 2);
  const groups = (text = '') => text.split(':').filter((group) => group !== '');
  const [first, last] = [groups(head), groups(tail)];
  // an address that ends as IPv4 has one group less than it looks
  const there = first.length + last.length + (address.includes('.') ? 1 : 0);
  const all = [...first, ...Array<string>(Math.max(0, 8 - there)).fill('0'), ...last];
  const network = all.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(':')}::/64`;
}
