import { Injectable, inject, signal } from '@angular/core';
import { isRemoteError } from '@sealwire/angular';
import { WireAttacks } from '@sealwire/angular/inspector';
import { Bank, type Side } from './bank.js';
import { adviceFor } from './connection.js';
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
  /** cents that the payer should have paid to the other one */
  readonly moved: bigint;
}

const EURO = 1_00n;
/** Ben pays if Ada has less. */
const ENOUGH = 10n * EURO;
const NOT_MET = 'No call met the attack: the one that was meant travelled inside a handshake. Try again.';

/** One attack at a time, and what became of it. */
@Injectable()
export class Attacks {
  readonly #bank = inject(Bank);
  readonly #demo = inject(Demo);
  readonly #wire = inject(WireAttacks);
  readonly running = signal<Attack | undefined>(undefined);
  readonly outcome = signal<Outcome | undefined>(undefined);
  readonly problem = signal<string | undefined>(undefined);
  /** what was pressed meanwhile and not begun, a sentence */
  readonly ignored = signal<string | undefined>(undefined);
  #payer: Side = 0;

  async start(attack: Attack): Promise<void> {
    const running = this.running();
    if (running) {
      const again = attack.id === running.id ? 'a second time' : 'beside it';
      this.ignored.set(`One attack at a time: “${attack.title}” was not begun ${again}.`);
      return;
    }
    this.running.set(attack);
    this.problem.set(undefined);
    this.ignored.set(undefined);
    try {
      // nothing but the attack moves money now
      await this.#bank.sent;
      const before = await this.#bank.bothBalances();
      this.#payer = before[0] >= ENOUGH ? 0 : 1;
      const { saw, proxy, moved } = await this.#scenarios[attack.id]();
      const after = await this.#bank.bothBalances();
      const paid = this.#payer === 0 ? moved : -moved;
      const isAsExpected = after[0] === before[0] - paid && after[1] === before[1] + paid;
      this.outcome.set({ attack, saw, proxy, before, after, isAsExpected });
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      this.problem.set(isRemoteError(error) ? `${error.message} ${adviceFor(error)}` : error.message);
      if (!isRemoteError(error) && !(error instanceof Refused)) throw error;
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
    splice: async () => {
      // whose ciphertext comes under the header
      await this.#wire.aim(() => this.#bank.bothBalances());
      return this.#transferUnder('splice');
    },
    elsewhere: () => this.#transferUnder('wrong-module', { url: '/remote/public' }),
    replay: async () => {
      await this.#wire.aim(() => this.#pay('recorded by the proxy'));
      const { proxy } = await this.#wire.replay();
      return { saw: 'One transfer, as before. The application was not even asked.', proxy, moved: EURO };
    },
    swap: async () => {
      // so that the balances differ
      await this.#pay('before the exchange');
      const { proxy, value } = await this.#under(['swap-answers'], () => this.#bank.bothBalances());
      const saw = `Both reads brought the right balance: Ada ${money(value[0])}, Ben ${money(value[1])}.`;
      return { saw, proxy, moved: EURO };
    },
    cut: async () => {
      const numbers: number[] = [];
      let moved = 0n;
      const { proxy } = await this.#under(['cut-stream', { after: 600 }], async () => {
        const lines = await this.#bank.lines();
        numbers.push(await lines.next());
        for (; numbers.length < 4; moved += EURO) {
          await this.#pay('while the stream was cut');
          numbers.push(await lines.next());
        }
        await lines.stop();
      });
      const isWhole = numbers.every((number, at) => number === (numbers[0] ?? 0) + at);
      const which = `Lines ${numbers.join(', ')} arrived`;
      const saw = isWhole
        ? `${which}: none is missing, none came twice.`
        : `${which}, and they do not follow each other.`;
      return { saw, proxy, moved };
    },
    restart: async () => {
      const session = this.#bank.sessionId();
      const began = performance.now();
      const refused = await this.#demo.restart();
      if (refused) throw new Refused(refused);
      await this.#pay('after the restart');
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      const same = session === this.#bank.sessionId() ? 'in the same session' : 'in a new session';
      return { saw: `After ${seconds} s a transfer of €1.00 went through ${same}.`, moved: EURO };
    },
    revoke: async () => {
      const session = this.#bank.sessionId();
      if (session === undefined) throw new Refused('There is no session to revoke now.');
      const refused = await this.#demo.revoke(session);
      if (refused) throw new Refused(refused);
      await this.#pay('after the revocation');
      const now = this.#bank.sessionId();
      return {
        saw: `The transfer went through, once, in a new session: ${now?.slice(0, 8)} instead of ${session.slice(0, 8)}.`,
        moved: EURO,
      };
    },
  };

  async #transferUnder(...armed: Parameters<WireAttacks['arm']>): Promise<Seen> {
    const { proxy } = await this.#under(armed, () => this.#pay('under attack'));
    return { saw: 'The transfer went through, once.', proxy, moved: EURO };
  }

  /** An attack on what the function begins, and on nothing that the page does beside it. */
  async #under<T>(
    armed: Parameters<WireAttacks['arm']>,
    begin: () => Promise<T>,
  ): Promise<{ value: T; proxy: string }> {
    const report = this.#wire.arm(...armed);
    const value = await this.#wire.aim(begin);
    this.#wire.reset();
    const { met, proxy } = await report;
    if (!met) throw new Refused(NOT_MET);
    return { value, proxy };
  }

  #pay(note: string): Promise<void> {
    return this.#bank.pay(this.#payer, EURO, note);
  }
}

/** What was asked for does not happen; the message says why. */
class Refused extends Error {}
