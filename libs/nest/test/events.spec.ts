import { Logger } from '@nestjs/common';
import { SealwireEvents } from '@sealwire/nest';
import { afterEach, expect, it, vi } from 'vitest';

const event = { sessionId: '00', module: 'payments' };
const unhandled = vi.fn();

afterEach(() => {
  process.off('unhandledRejection', unhandled);
  vi.restoreAllMocks();
});

it('a listener that throws or rejects is logged and disturbs nobody', async () => {
  const logged = vi.spyOn(Logger.prototype, 'error').mockImplementation(() => undefined);
  process.on('unhandledRejection', unhandled);
  const events = new SealwireEvents();
  const heard = vi.fn();
  events.on('resumed', () => {
    throw new Error('broken');
  });
  events.on('resumed', async () => {
    throw new Error('the audit log is away');
  });
  const stop = events.on('resumed', heard);
  events.emit('resumed', event);
  expect(heard).toHaveBeenCalledExactlyOnceWith(event);
  await expect.poll(() => logged.mock.calls.map(([error]) => String(error))).toHaveLength(2);
  // unhandled rejections are told after the microtasks of one turn
  await new Promise((resolve) => setImmediate(resolve));
  expect(unhandled).not.toHaveBeenCalled();
  stop();
  events.emit('resumed', event);
  expect(heard).toHaveBeenCalledOnce();
});
