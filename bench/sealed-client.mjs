import {
  CONTENT_TYPE,
  decodeReply,
  encodeCalls,
  finishHandshake,
  openResult,
  receiveFinishAnswer,
  receiveStartAnswer,
  sealCall,
  startHandshake,
} from '@sealwire/core';
import { nodePrimitives as primitives } from '@sealwire/core/node';
import { encodeRequest } from './http-load.mjs';

const suite = { primitives, random: (length) => primitives.random(length) };
const KEY_SIZE = 32;

/** Seals calls ahead of the measured time, so that the load process spends none of it on cryptography. */
export class SealedClient {
  #path;
  #session;
  #lane;
  #counter = 0;

  static async open(connection, module, config) {
    const client = new SealedClient();
    client.#path = `/remote/${module}`;
    const send = (frame) => connection.send(encodeRequest(client.#path, CONTENT_TYPE, frame));
    const started = startHandshake(suite, { modulePath: module, keySize: KEY_SIZE, ...config });
    const answered = receiveStartAnswer(started, await send(started.frame));
    const finished = finishHandshake(answered, [], new Uint8Array(0));
    client.#session = receiveFinishAnswer(finished, await send(finished.frame));
    client.#lane = client.#session.terms.lane;
    return client;
  }

  /** One call to a server that was started again: it says which lane it opened, then serves the call there. */
  async resume(connection, name, value) {
    for (;;) {
      const { requests, headers } = this.prepare(1, name, value);
      const reply = this.#openReply(headers[0], await connection.send(requests[0]));
      if (reply.outcomes) return reply.outcomes[0];
      if (reply.status !== 'lane_moved') throw new Error(`the server answered ${reply.status}`);
      this.#lane = reply.lane;
      this.#counter = 0;
    }
  }

  /** Requests with frames of their own, each carrying `batch` times the call. */
  prepare(count, name, value, batch = 1) {
    const { secrets, sessionId } = this.#session;
    const body = encodeCalls(Array.from({ length: batch }, () => ({ name, args: [value] })));
    const key = { primitives, keySize: KEY_SIZE, secret: secrets.clientToServer };
    const headers = [];
    const requests = Array.from({ length: count }, () => {
      const number = { lane: this.#lane, counter: ++this.#counter };
      const { frame, header } = sealCall(key, { epoch: 0, sessionId, number, salt: primitives.random(8) }, body);
      headers.push(header);
      return encodeRequest(this.#path, CONTENT_TYPE, frame);
    });
    return { requests, headers, encoded: body.length };
  }

  /** The outcomes in an answer to the request with that header. */
  open(header, answer) {
    return this.#openReply(header, answer).outcomes;
  }

  #openReply(header, answer) {
    const key = { primitives, keySize: KEY_SIZE, secret: this.#session.secrets.serverToClient };
    return decodeReply(openResult(key, header, answer));
  }
}
