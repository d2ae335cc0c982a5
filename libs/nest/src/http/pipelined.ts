import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

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
