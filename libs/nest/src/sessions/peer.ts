import type { IncomingMessage } from 'node:http';
import { isIP, isIPv6 } from 'node:net';
import type { ResolvedOptions } from '../options.js';

/** The addresses of whoever sent a frame. Each is worked out when it is asked for: a warm call asks for none. */
export interface Peer {
  /** for limits, logs and events: IPv4, or the first 64 bits of IPv6 (`2001:db8:0:1::/64`) */
  readonly address: string;
  /** what sessions are locked to; undefined where they are not */
  readonly lock: string | undefined;
  /** A proxy tells of an address, and the platform is not set up to take it from there. */
  readonly forwardingIgnored: boolean;
}

/** The request of either platform: Express hands out Node's own, Fastify wraps it. */
export interface RequestLike {
  readonly raw?: IncomingMessage;
  /** what the platform makes of the connection and, where it trusts a proxy, of X-Forwarded-For */
  readonly ip?: string;
}

/** Node's own request behind that of a platform. */
export function nodeRequest(request: RequestLike): IncomingMessage {
  return request.raw ?? (request as unknown as IncomingMessage);
}

export function peerOf(request: RequestLike, peerLock: ResolvedOptions['peerLock']): Peer {
  return new RequestPeer(request, peerLock);
}

class RequestPeer implements Peer {
  constructor(
    private readonly request: RequestLike,
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
    return nodeRequest(this.request).headers['x-forwarded-for'] !== undefined && this.forwarded() === this.connection();
  }

  /** X-Forwarded-For is a text that anybody may send: what is no address counts as the connection's. */
  private forwarded(): string {
    const { ip } = this.request;
    return ip !== undefined && isIP(ip) !== 0 ? withoutMapping(ip) : this.connection();
  }

  private connection(): string {
    return withoutMapping(nodeRequest(this.request).socket.remoteAddress ?? '');
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
