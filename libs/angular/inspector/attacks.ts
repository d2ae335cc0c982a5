import { computed, Injectable, inject, type Signal, signal, untracked } from '@angular/core';
import { ɵreaderOf } from '@sealwire/angular';
import { SealwireError, type TransportRequest, type TransportResponse, ɵknownOptions } from '@sealwire/client';
import { describe } from './attack-words.js';
import type { AttackKind, AttackReport, Exchange, RecordedCall, Tampering } from './exchange.js';
import { cut, flipped, forged, kept, read, spliced } from './forgeries.js';
import type { Passed, Passing } from './recording.js';
import { UNATTACHED, WireRecorder } from './wire-recorder.js';

/** Options of {@link WireAttacks.arm}. */
export interface AttackOptions {
  /** of `cut-stream`: bytes of the answer that still pass (default 2000) */
  readonly after?: number;
  /** of `wrong-module`: the URL of another module */
  readonly url?: string;
}

interface Armed {
  readonly kind: Exclude<AttackKind, 'replay'>;
  readonly options: AttackOptions;
  resolve(report: AttackReport): void;
}

interface Reported extends Pick<Passing, 'isCurrent'> {
  readonly report: AttackReport;
}

interface Waiting {
  readonly passed: Promise<Passed>;
  swap(other: TransportResponse): void;
  /** with its own answer */
  goOn(): void;
}

/** How long the first of two answers is held back until the second one is there. */
const SWAP_MS = 5_000;
const REPLAYED = 1024 * 1024;
const REPORTS = 20;
const DISARMED = {
  met: false,
  proxy: 'Nothing: the attack was disarmed before a call met it.',
  application: 'Nothing.',
  calls: [],
  exchanges: [],
};

/**
 * What a hostile proxy can do to frames on their way. Each attack meets the next call of the application, once, and tells what the
 * proxy got and what the application saw. Handshake steps pass unaltered, and with them the first calls of a module, which travel
 * inside: call something before.
 *
 * @example
 * import { inject } from '@angular/core';
 * async function attack(attacks = inject(WireAttacks), payments = injectRemote(Payments)) {
 *   const report = attacks.arm('lose-answer');
 *   await payments.transfer('alice', 'bob', 500n);
 *   return (await report).application;
 * }
 */
@Injectable({ providedIn: 'root' })
export class WireAttacks {
  /** the attack that waits for a call */
  readonly armed: Signal<AttackKind | undefined>;
  /** what the attacks came to, the newest first, at most 20 */
  readonly reports: Signal<readonly AttackReport[]>;
  readonly #recorder = inject(WireRecorder);
  readonly #armed = signal<Armed | undefined>(undefined);
  readonly #reports = signal<readonly Reported[]>([]);
  #swapping: Waiting | undefined;
  /** ids of the calls that are meant; undefined: all */
  #aim: readonly number[] | undefined;
  #ids = 0;
  /** the last call frame that passed, and how it was sent */
  #last: (Pick<Passing, 'request' | 'send' | 'isCurrent'> & { answer: Uint8Array | undefined }) | undefined;

  constructor() {
    this.armed = computed(() => this.#armed()?.kind);
    this.reports = computed(() => this.#reports().flatMap(({ report, isCurrent }) => (isCurrent() ? report : [])));
    this.#recorder.between = (passing) => this.#meet(passing);
  }

  /**
   * The next call meets the attack; `swap-answers` takes the next two calls, which must be under way at the same time. An attack that
   * was armed before is disarmed.
   *
   * @returns what it came to, once the calls that met it are settled, answered or not; of an attack that is disarmed, that it came to
   * nothing; rejected with SealwireError `bad_configuration` without `withInspector()`
   * @throws SealwireError `bad_configuration` for `wrong-module` without a URL, and for an option that does not exist
   */
  arm(kind: Exclude<AttackKind, 'replay'>, given: AttackOptions = {}): Promise<AttackReport> {
    const options = ɵknownOptions(given, ['after', 'url'], 'arm()');
    if (kind === 'wrong-module' && !options.url)
      throw new SealwireError('bad_configuration', 'wrong-module needs the `url` of another module.');
    this.reset();
    if (!untracked(this.#recorder.attached)) return Promise.reject(new SealwireError('bad_configuration', UNATTACHED));
    return new Promise((resolve) => this.#armed.set({ kind, options, resolve }));
  }

  /**
   * What is armed or replayed means the calls that the function begins before it returns, and lets pass what the application calls
   * beside them, until the next `arm`, `aim` or `reset`. @returns what the function does
   */
  aim<T>(begin: () => T): T {
    const before = untracked(this.#recorder.calls).at(-1)?.id ?? 0;
    const begun = begin();
    const ids = untracked(this.#recorder.calls).map(({ id }) => id);
    // while the recorder is paused it knows no calls
    this.#aim = untracked(this.#recorder.paused) ? undefined : ids.filter((id) => id > before);
    return begun;
  }

  /** Disarms. A call that is held back goes on. */
  reset(): void {
    const armed = untracked(this.#armed);
    this.#armed.set(undefined);
    this.#aim = undefined;
    this.#swapping?.goOn();
    this.#swapping = undefined;
    if (armed) armed.resolve({ ...DISARMED, id: ++this.#ids, kind: armed.kind });
  }

  /**
   * Sends the last call frame once more, as it was; after `aim` the last one of those calls.
   *
   * @throws Error if no call has passed yet, or one above 1 MiB
   */
  async replay(): Promise<AttackReport> {
    const last = this.#last;
    if (!last || !untracked(last.isCurrent)) throw new Error('There is nothing to replay: no call has passed yet.');
    const before = last.answer;
    const tampering = describe.tampering('replay', 'request');
    const request = { ...last.request, signal: new AbortController().signal };
    const { response, exchange } = await last.send(request, tampering);
    const answer = await read(response, REPLAYED);
    const isSame =
      before !== undefined && answer.length === before.length && answer.every((byte, i) => byte === before[i]);
    const report: Omit<AttackReport, 'id'> = {
      kind: 'replay',
      met: true,
      proxy: describe.replayed(response, answer, isSame),
      application: 'Nothing. Its call has its outcome, and no function ran again.',
      calls: [],
      exchanges: exchange === undefined ? [] : [exchange],
    };
    return this.#report(report, last.isCurrent);
  }

  async #meet(passing: Passing): Promise<TransportResponse> {
    const { kind, request, calls } = passing;
    const isMeant = this.#aim?.some((id) => calls.includes(id)) ?? true;
    if (kind !== 'call' || !isMeant) return (await passing.send()).response;
    const armed = untracked(this.#armed);
    const before = this.#last?.request.body;
    const isWhole = request.body instanceof Uint8Array;
    if (isWhole && request.body.length <= REPLAYED) {
      const { send, isCurrent } = passing;
      this.#last = { request, send, isCurrent, answer: undefined };
    }
    if (!armed || (!isWhole && armed.kind !== 'cut-stream')) return this.#pass(passing);
    if (armed.kind === 'cut-stream') return this.#cut(passing, armed);
    if (armed.kind === 'swap-answers') return this.#swap(passing, armed);
    if (armed.kind === 'splice' && !(before instanceof Uint8Array)) return this.#pass(passing);
    this.#armed.set(undefined);
    return this.#alter(passing, armed, before as Uint8Array);
  }

  /** Untouched; the answer is kept to compare a replay with. */
  async #pass(passing: Passing): Promise<TransportResponse> {
    const last = this.#last;
    const { response } = await passing.send();
    if (!last || last.request !== passing.request) return response;
    return kept(response, REPLAYED, (answer) => {
      last.answer = answer;
    });
  }

  async #alter(passing: Passing, armed: Armed, before: Uint8Array): Promise<TransportResponse> {
    const { request } = passing;
    const body = request.body as Uint8Array;
    const { kind, options } = armed;
    if (kind === 'flip-request' || kind === 'splice') {
      const { bytes, offset } = kind === 'splice' ? spliced(body, before) : flipped(body);
      return this.#altered(passing, armed, { ...request, body: bytes }, { offset });
    }
    if (kind === 'wrong-module') return this.#altered(passing, armed, { ...request, url: `${options.url}` });
    const tampering = describe.tampering(kind, 'answer');
    const { response, answer } = await this.#answered(passing, armed, request, tampering);
    if (this.#last?.request === request) this.#last.answer = answer;
    this.#tell(passing, armed, tampering, describe.held(kind, response, answer));
    if (kind === 'lose-answer') throw new Error('The connection was closed before an answer came.');
    if (kind === 'forge-session-unknown') return forged();
    return { ...response, body: ɵreaderOf(flipped(answer).bytes) };
  }

  async #altered(passing: Passing, armed: Armed, request: TransportRequest, where: Pick<Tampering, 'offset'> = {}) {
    const { kind } = armed;
    const tampering = { ...describe.tampering(kind, 'request'), ...where };
    const { response, answer } = await this.#answered(passing, armed, request, tampering);
    this.#tell(passing, armed, tampering, describe.refused(kind, response, answer));
    return { ...response, body: ɵreaderOf(answer) };
  }

  /** What the proxy gets for the call that meets the attack; that it got nothing is what the attack came to, too. */
  async #answered(passing: Passing, armed: Armed, request: TransportRequest, tampering: Tampering) {
    try {
      const { response } = await passing.send(request, tampering);
      return { response, answer: await read(response, REPLAYED) };
    } catch (error) {
      this.#tell(passing, armed, tampering, describe.unanswered(error));
      throw error;
    }
  }

  /** A result that does not stream passes, and the attack waits for the next one. */
  async #cut(passing: Passing, armed: Armed): Promise<TransportResponse> {
    const { after = 2_000 } = armed.options;
    const passed = await passing.send();
    return cut(passed.response, after, () => {
      if (untracked(this.#armed) !== armed) return false;
      this.#armed.set(undefined);
      const tampering = describe.tampering('cut-stream', 'answer');
      this.#recorder.mark(passed.exchange, tampering);
      this.#tell(passing, armed, tampering, `The proxy closed the connection after ${after} bytes of the stream.`);
      return true;
    });
  }

  async #swap(passing: Passing, armed: Armed): Promise<TransportResponse> {
    const passed = passing.send();
    const first = this.#swapping;
    if (!first) {
      return new Promise((resolve, reject) => {
        const goOn = (): void => {
          clearTimeout(alone);
          this.#swapping = undefined;
          passed.then(({ response }) => resolve(response), reject);
        };
        const alone = setTimeout(goOn, SWAP_MS);
        const swap = (other: TransportResponse): void => {
          clearTimeout(alone);
          resolve(other);
        };
        this.#swapping = { passed, swap, goOn };
        // without an answer there is nothing to swap
        passed.catch(goOn);
      });
    }
    this.#swapping = undefined;
    this.#armed.set(undefined);
    const tampering = describe.tampering('swap-answers', 'answer');
    try {
      const [one, two] = await Promise.all([first.passed, passed]);
      const [mine, others] = await Promise.all([read(one.response, REPLAYED), read(two.response, REPLAYED)]);
      for (const { exchange } of [one, two]) this.#recorder.mark(exchange, tampering);
      this.#tell(passing, armed, tampering, describe.swapped(mine, others));
      first.swap({ ...two.response, body: ɵreaderOf(others) });
      return { ...one.response, body: ɵreaderOf(mine) };
    } catch (error) {
      this.#tell(passing, armed, tampering, describe.unanswered(error));
      first.goOn();
      return (await passed).response;
    }
  }

  /** Reports as soon as the calls that met the attack are settled. */
  #tell({ isCurrent, calls: known }: Passing, armed: Armed, tampering: Tampering, proxy: string): void {
    const recorder = this.#recorder;
    const altered = (): readonly Exchange[] => recorder.exchanges().filter((one) => one.tampering === tampering);
    const exchanges = untracked(altered).map(({ id }) => id);
    const settled = (): readonly RecordedCall[] | undefined => {
      const ids = [...known, ...altered().flatMap(({ calls }) => calls)];
      const calls = recorder.calls().filter(({ id }) => ids.includes(id));
      const isOver = ({ id, state }: RecordedCall): boolean =>
        state === 'done' || state === 'failed' || (armed.kind === 'cut-stream' && this.#goesOn(id, exchanges));
      return calls.every(isOver) ? calls : undefined;
    };
    void recorder
      .until(() => untracked(settled))
      .then((calls) => {
        const application = describe.seen(calls, untracked(recorder.exchanges));
        const report = { kind: armed.kind, met: true, proxy, application, calls, exchanges };
        armed.resolve(this.#report(report, isCurrent));
      });
  }

  /** Whether a stream that was cut arrives again in another exchange. */
  #goesOn(call: number, cutOnes: readonly number[]): boolean {
    const last = Math.max(...cutOnes);
    return this.#recorder.exchanges().some(({ id, calls, answer }) => id > last && calls.includes(call) && answer);
  }

  #report(report: Omit<AttackReport, 'id'>, isCurrent: () => boolean): AttackReport {
    const made = { ...report, id: ++this.#ids };
    this.#reports.update((reports) => {
      const others = reports.filter((one) => untracked(one.isCurrent));
      return [{ report: made, isCurrent }, ...others].slice(0, REPORTS);
    });
    return made;
  }
}
