import { provideHttpClient } from '@angular/common/http';
import { Component, provideZonelessChangeDetection } from '@angular/core';
import { TestBed } from '@angular/core/testing';
import { injectRemote, provideSealwire, withFetch, withModule } from '@sealwire/angular';
import { SealwireInspector, WireRecorder, withInspector } from '@sealwire/angular/inspector';
import { Payments, secureKeys, serverKey, startServer } from './server.js';

@Component({
  selector: 'test-page',
  imports: [SealwireInspector],
  template: '<sealwire-inspector [view]="view" />',
})
class Page {
  view = 'messages' as const;
}

/** An application whose page shows the inspector, and its server. */
export async function shown(secureKey = secureKeys[0]) {
  const server = await startServer();
  TestBed.configureTestingModule({
    providers: [
      provideZonelessChangeDetection(),
      provideHttpClient(),
      provideSealwire(
        { url: server.url, serverKey },
        withModule(Payments, { secureKey }),
        withFetch(),
        withInspector(),
      ),
    ],
  });
  const payments = TestBed.runInInjectionContext(() => injectRemote(Payments));
  const fixture = TestBed.createComponent(Page);
  await fixture.whenStable();
  const page = fixture.nativeElement as HTMLElement;
  const all = (selector: string) => [...page.querySelectorAll<HTMLElement>(selector)];
  const texts = (selector: string) =>
    all(selector).map(({ textContent }) => textContent.trim().replaceAll(/\s+/g, ' '));
  const tab = async (name: string) => {
    all('[role="tab"]')
      .find(({ textContent }) => textContent.trim() === name)
      ?.click();
    await fixture.whenStable();
  };
  return { rates: server.rates, payments, fixture, page, all, texts, tab, recorder: TestBed.inject(WireRecorder) };
}
