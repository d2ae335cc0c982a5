import { provideHttpClient, withInterceptors } from '@angular/common/http';
import { inject } from '@angular/core';
import { bootstrapApplication } from '@angular/platform-browser';
import { provideSealwire, sealwireStreams, withModule } from '@sealwire/angular';
import { withInspector } from '@sealwire/angular/inspector';
import { Demo } from './demo.js';
import { Payments } from './remotes.js';
import { Root } from './root.js';

await bootstrapApplication(Root, {
  providers: [
    // which also tells how far an upload is
    provideHttpClient(withInterceptors([sealwireStreams])),
    provideSealwire(
      // a real application has the server's public key in its bundle
      () => ({ url: '/remote', serverKey: inject(Demo).keys()?.serverKey ?? '' }),
      withModule(Payments, () => {
        const demo = inject(Demo);
        return { secureKey: () => demo.keys()?.secureKey };
      }),
      withInspector(),
    ),
  ],
});
