import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, it } from 'vitest';
import { Flights } from '../src/streams/index.js';

it('whoever asks about a message in the moment in which it ends leaves nothing behind', async () => {
  const flights = new Flights();
  const number = { lane: 7, counter: 1 };
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  flights.end(number);
  const late = flights.join(number, response, 10, Promise.resolve(undefined));
  await Promise.resolve();
  expect(flights.at(number, 10)).not.toBe(late);
  let gone: unknown;
  late.audience.watch((reason) => {
    gone = reason;
  });
  expect(gone).toMatchObject({ code: 'cancelled' });
});
