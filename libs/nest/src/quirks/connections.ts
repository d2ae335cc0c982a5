import { type IncomingMessage, Server, type ServerResponse } from 'node:http';
import { Server as SecureServer } from 'node:https';
import type { Socket } from 'node:net';

/** How often connections are looked at while the server stops, in milliseconds. */
const SWEEP_MS = 500;
/** An answer of which nothing left for so many looks is read by nobody. */
const UNREAD = 6;

/** What Node keeps at a connection of HTTP/1 beneath its documented API; test/closing.spec.ts holds it against the Node of now. */
interface Connection extends Socket {
  /** null once the connection is no longer HTTP's, as after an upgrade */
  readonly parser?: unknown;
  /** the response to the request that runs, or whose answer is on its way */
  readonly _httpMessage?: ServerResponse | null;
  readonly _handle?: { readonly writeQueueSize?: number } | null;
}

/** What was left of an answer at the last look, and how often it was as much before. */
interface Unread {
  left: number;
  looks: number;
}

/**
 * The connections of a server of HTTP/1. Node waits for all of them when the server closes, and closes none by itself that sent nothing yet,
 * or the beginning of a head, or reads no answer: that takes no key.
 */
export class Connections {
  private readonly open = new Map<Connection, Unread>();

  constructor(private readonly server: Server) {
    // of a secure server these are the connections whose handshake is over
    const event = server instanceof SecureServer ? 'secureConnection' : 'connection';
    server.on(event, (socket: Socket) => {
      this.open.set(socket, { left: 0, looks: 0 });
      socket.once('close', () => this.open.delete(socket));
    });
  }

  /** Undefined for HTTP/2, and for whatever stands in the place of a server. */
  static of(server: unknown): Connections | undefined {
    return server instanceof Server || server instanceof SecureServer ? new Connections(server as Server) : undefined;
  }

  /** From the moment in which the server has stopped listening, closes those that run nothing; answers on their way go on. */
  stop(): void {
    const timer = setInterval(() => {
      if (this.server.listening) return;
      for (const [socket, unread] of this.open) if (isOver(socket, unread)) socket.destroy();
    }, SWEEP_MS).unref();
    this.server.once('close', () => clearInterval(timer));
  }
}

function isOver({ parser, _httpMessage: response, _handle, writableLength }: Connection, unread: Unread): boolean {
  if (!parser) return false;
  if (!response) return true;
  // a long answer may be one write, of which only the system knows how much has left
  const left = writableLength + (_handle?.writeQueueSize ?? 0);
  unread.looks = response.writableEnded && left === unread.left ? unread.looks + 1 : 0;
  unread.left = left;
  return unread.looks >= UNREAD;
}

/** Responses that wait until those before them on the same connection are sent (HTTP pipelining). */
const waiting = new WeakMap<Socket, Set<ServerResponse>>();

/** Has a response that waits behind another close with its connection: Node itself tells it nothing of that. */
export function closeWithConnection({ socket, httpVersionMajor }: IncomingMessage, response: ServerResponse): void {
  // those of HTTP/2 do not wait for each other
  if (response.closed || httpVersionMajor > 1) return;
  let responses = waiting.get(socket);
  if (!responses) {
    responses = new Set();
    waiting.set(socket, responses);
    socket.once('close', () => closeAll(socket));
  }
  responses.add(response);
  response.once('close', () => waiting.get(socket)?.delete(response));
}

function closeAll(socket: Socket): void {
  const responses = waiting.get(socket) ?? [];
  waiting.delete(socket);
  for (const response of responses) {
    response.destroy();
    response.emit('close');
  }
}
