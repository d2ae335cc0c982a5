import { inject, provideEnvironmentInitializer } from '@angular/core';
import { type SealwireFeature, ɵBACKEND, type ɵBackend, ɵpathOf } from '@sealwire/angular';
import { createRemote, type Remote, type RemoteOptions, SealwireError, ɵknownOptions } from '@sealwire/client';
import { WireAttacks } from './attacks.js';
import { WireRecorder } from './wire-recorder.js';

/** Options of {@link withInspector}. */
export interface InspectorOptions {
  /** exchanges and calls that are kept (default 200) */
  readonly keep?: number;
}

/**
 * Records all modules of this `provideSealwire` for `<sealwire-inspector>`, whichever transport they have. For demonstrations and
 * development: it keeps plaintext of the calls in memory. A build that does not import this entry has nothing of it.
 *
 * @throws SealwireError `bad_configuration` for an option that does not exist, or a `keep` that is no whole number from 1 to 10,000
 * @example
 * const config = { url: '/remote', serverKey: 'swp1…' };
 * provideSealwire(config, withFetch(), withInspector());
 */
export function withInspector(options: InspectorOptions = {}): SealwireFeature<'inspector'> {
  const { keep = 200 } = ɵknownOptions(options, ['keep'], 'withInspector()');
  if (!Number.isInteger(keep) || keep < 1 || keep > 10_000) {
    throw new SealwireError('bad_configuration', 'withInspector() takes a whole number from 1 to 10,000 as `keep`.');
  }
  // before the first remote is there
  const attach = provideEnvironmentInitializer(() => inject(WireRecorder).attach());
  return { ɵkind: 'inspector', ɵproviders: [{ provide: ɵBACKEND, useFactory: () => backend(keep) }, attach] };
}

function backend(keep: number): ɵBackend {
  const recorder = inject(WireRecorder);
  // it stands between from the first frame on
  inject(WireAttacks);
  recorder.limit = keep;
  return {
    open(module, options, isCurrent) {
      const path = ɵpathOf(module);
      const { transport, onSession, refresh, ...rest } = options();
      const watched = (remote: Remote<unknown>) => recorder.watch(remote, path, false, isCurrent) as never;
      const recorded: RemoteOptions = {
        ...rest,
        ...(transport ? { transport: recorder.record(transport, path, isCurrent) } : {}),
        ...(onSession ? { onSession: (remote: Remote<unknown>) => onSession(watched(remote)) } : {}),
        ...(refresh ? { refresh: (remote: Remote<unknown>) => refresh(watched(remote)) } : {}),
      };
      return recorder.watch(createRemote<unknown>(recorded), path, true, isCurrent);
    },
    endOfTurn: (run) => queueMicrotask(run),
  };
}
