import { Injectable, inject, signal } from '@angular/core';
import { isRemoteError } from '@sealwire/angular';
import { WireAttacks } from '@sealwire/angular/inspector';
import { Bank } from './bank.js';
import { Demo } from './demo.js';
import { money } from './money.js';

export type AttackId =
  | 'flip'
  | 'lose'
  | 'replay'
  | 'swap'
  | 'cut'
  | 'forge'
  | 'elsewhere'
  | 'splice'
  | 'restart'
  | 'revoke';

export interface Attack {
  readonly id: AttackId;
  readonly title: string;
  /** what the attacker does */
  readonly does: string;
  /** why it came to nothing */
  readonly why: string;
  /** how long it takes, if that is long */
  readonly wait?: string;
}

export const ATTACKS: readonly Attack[] = [
  {
    id: 'flip',
    title: 'Flip a bit',
    does: 'The proxy flipped one bit in the answer to a transfer of €1.00.',
    why: 'The seal did not fit, so the answer was dropped. The client sent the same bytes again, and the server answered with the result that it had kept.',
  },
  {
    id: 'lose',
    title: 'Lose the answer',
    does: 'The proxy delivered a transfer of €1.00 and dropped the answer.',
    why: 'The client sent the same bytes again. The server knew their number, ran nothing, and sent the result that it had kept.',
  },
  {
    id: 'replay',
    title: 'Replay',
    does: 'The proxy recorded a transfer of €1.00 and sent its bytes a second time.',
    why: 'A number runs once. The copy was answered with the first result, sealed with a key that the proxy does not have.',
  },
  {
    id: 'swap',
    title: 'Swap two answers',
    does: 'The proxy exchanged the answers to two reads: the balances of Ada and Ben.',
    why: 'Each answer is sealed for the number of its call. Exchanged, neither opened, so the client asked again.',
  },
  {
    id: 'cut',
    title: 'Cut a stream',
    does: 'The proxy cut the live stream of Ben’s account while payments came in.',
    why: 'The end of a stream is sealed too, so a cut is never taken for an end. The client went on behind the last line that it had seen.',
  },
  {
    id: 'forge',
    title: 'Forge “session unknown”',
    does: 'The proxy answered a transfer of €1.00 itself: “session unknown”.',
    why: 'That answer has no seal, so it is a hint and no more. The client shook hands again with the pinned key and asked there, under seal, what had become of the transfer.',
  },
  {
    id: 'elsewhere',
    title: 'Send to another function',
    does: 'The proxy delivered a sealed transfer of €1.00 to another module of the server.',
    why: 'The name of the function is inside the seal, so the address is all that can be changed. The other module does not know the session: nothing opened there, and nothing ran.',
  },
  {
    id: 'splice',
    title: 'Splice two calls',
    does: 'The proxy kept the header of a transfer of €1.00 and put the ciphertext of a read of the balance under it.',
    why: 'The key of a message belongs to its header, number included. The mixture did not open, nothing ran, and the client sent its own bytes again.',
  },
  {
    id: 'restart',
    title: 'Restart the server',
    does: 'The server was stopped and started again.',
    wait: 'It is gone for some seconds, and every call waits for it. A transcript that the terminal still shows comes to its end before.',
    why: 'The keys of the session lie encrypted in the database, so the new process went on with it. No handshake was needed.',
  },
  {
    id: 'revoke',
    title: 'Revoke the session',
    does: 'An operator revoked the session on the server, and then a transfer of €1.00 was made.',
    why: 'The server said so under seal, and that nothing had run. The client made a new session by itself and sent the transfer there.',
  },
];

export interface Outcome {
  readonly attack: Attack;
  /** what the application saw */
  readonly saw: string;
  /** what the proxy got back */
  readonly proxy: string | undefined;
  readonly before: readonly [bigint, bigint];
  readonly after: readonly [bigint, bigint];
  readonly isAsExpected: boolean;
}

interface Seen {
  readonly saw: string;
  readonly proxy?: string;
  /** cents that should have moved from Ada to Ben */
  readonly moved: bigint;
}

const EURO = 1_00n;

/** One attack at a time, and what became of it. */
@Injectable()
export class Attacks {
  readonly #bank = inject(Bank);
  readonly #demo = inject(Demo);
  readonly #wire = inject(WireAttacks);
  readonly running = signal<Attack | undefined>(undefined);
  readonly outcome = signal<Outcome | undefined>(undefined);
  readonly problem = signal<string | undefined>(undefined);

  async start(attack: Attack): Promise<void> {
    if (this.running()) return;
    this.running.set(attack);
    this.problem.set(undefined);
    try {
      const before = await this.#bank.bothBalances();
      const { saw, proxy, moved } = await this.#scenarios[attack.id]();
      const after = await this.#bank.bothBalances();
      const isAsExpected = after[0] === before[0] - moved && after[1] === before[1] + moved;
      this.outcome.set({ attack, saw, proxy, before, after, isAsExpected });
    } catch (error) {
      if (!isRemoteError(error) && !(error instanceof Refused)) throw error;
      this.problem.set(error.message);
    } finally {
      this.#wire.reset();
      this.#bank.refresh();
      this.running.set(undefined);
    }
  }

  readonly #scenarios: Readonly<Record<AttackId, () => Promise<Seen>>> = {
    flip: () => this.#transferUnder('flip-answer'),
    lose: () => this.#transferUnder('lose-answer'),
    forge: () => this.#transferUnder('forge-session-unknown'),
    splice: () => this.#transferUnder('splice'),
    elsewhere: () => this.#transferUnder('wrong-module', { url: '/remote/public' }),
    replay: async () => {
      await this.#bank.pay(EURO, 'recorded by the proxy');
      const { proxy } = await this.#wire.replay();
      return { saw: 'One transfer, as before. The application was not even asked.', proxy, moved: EURO };
    },
    swap: async () => {
      // so that the balances differ
      await this.#bank.pay(EURO, 'before the exchange');
      const report = this.#wire.arm('swap-answers');
      const [ada, ben] = await this.#bank.bothBalances();
      const saw = `Both reads brought the right balance: Ada ${money(ada)}, Ben ${money(ben)}.`;
      return { saw, proxy: (await report).proxy, moved: EURO };
    },
    cut: async () => {
      const report = this.#wire.arm('cut-stream', { after: 600 });
      const lines = await this.#bank.lines();
      const numbers = [await lines.next()];
      let moved = 0n;
      for (; numbers.length < 4; moved += EURO) {
        await this.#bank.pay(EURO, 'while the stream was cut');
        numbers.push(await lines.next());
      }
      await lines.stop();
      const isWhole = numbers.every((number, at) => number === (numbers[0] ?? 0) + at);
      const which = `Lines ${numbers.join(', ')} arrived`;
      const saw = isWhole
        ? `${which}: none is missing, none came twice.`
        : `${which}, and they do not follow each other.`;
      return { saw, proxy: (await report).proxy, moved };
    },
    restart: async () => {
      const session = this.#bank.sessionId();
      const began = performance.now();
      const refused = await this.#demo.restart();
      if (refused) throw new Refused(refused);
      await this.#bank.pay(EURO, 'after the restart');
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      const same = session === this.#bank.sessionId() ? 'in the same session' : 'in a new session';
      return { saw: `After ${seconds} s a transfer of €1.00 went through ${same}.`, moved: EURO };
    },
    revoke: async () => {
      const session = this.#bank.sessionId();
      if (session === undefined) throw new Refused('There is no session to revoke now.');
      const refused = await this.#demo.revoke(session);
      if (refused) throw new Refused(refused);
      await this.#bank.pay(EURO, 'after the revocation');
      const now = this.#bank.sessionId();
      return {
        saw: `The transfer went through, once, in a new session: ${now?.slice(0, 8)} instead of ${session.slice(0, 8)}.`,
        moved: EURO,
      };
    },
  };

  async #transferUnder(...armed: Parameters<WireAttacks['arm']>): Promise<Seen> {
    const report = this.#wire.arm(...armed);
    await this.#bank.pay(EURO, 'under attack');
    return { saw: 'The transfer went through, once.', proxy: (await report).proxy, moved: EURO };
  }
}

/** The demo's server does not do what was asked. */
class Refused extends Error {}
