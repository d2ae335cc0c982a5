// @vitest-environment jsdom
import './support.js';
import { provideHttpClient } from '@angular/common/http';
import { PLATFORM_ID } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { injectRemote, provideSealwire, withModule, withServerCalls, withSessionPersistence } from '@sealwire/angular';
import type { SessionPersistence } from '@sealwire/client';
import { describe, expect, it, vi } from 'vitest';
import { Payments, secureKeys, serverKey, startServer } from './server.js';

describe('withSessionPersistence()', () => {
  it('takes its own options alone, and is given once', () => {
    expect(withSessionPersistence().ɵkind).toBe('persistence');
    expect(() => withSessionPersistence({ slot: 4 } as never)).toThrow('slot');
    expect(() => withSessionPersistence({ slots: 0 })).toThrow('slots must be 1 to 64.');
    const twice = () => provideSealwire({ serverKey }, withSessionPersistence(), withSessionPersistence({ slots: 4 }));
    expect(twice).toThrow(
      expect.objectContaining({
        code: 'bad_configuration',
        message: 'provideSealwire() takes one withSessionPersistence().',
      }),
    );
  });

  it.each([
    ['browser', 1],
    ['server', 0],
  ])('looks on the platform %s for %i sessions of earlier pages', async (platform, times) => {
    const { url } = await startServer();
    const feature = withSessionPersistence();
    const [{ useValue }] = feature.ɵproviders as unknown as [{ useValue: SessionPersistence }];
    const finds = vi.spyOn(useValue, 'ɵfind');
    const payments = withModule(Payments, { secureKey: secureKeys[0] });
    TestBed.configureTestingModule({
      providers: [
        provideHttpClient(),
        { provide: PLATFORM_ID, useValue: platform },
        provideSealwire({ url, serverKey }, payments, feature, ...(times ? [] : [withServerCalls({ url })])),
      ],
    });
    const remote = TestBed.runInInjectionContext(() => injectRemote(Payments));
    expect(await remote.balance({ account: 'a' })).toBe(100n);
    expect(finds).toHaveBeenCalledTimes(times);
  });
});
