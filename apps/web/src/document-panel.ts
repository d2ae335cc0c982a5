import { ChangeDetectionStrategy, Component, computed, inject, signal } from '@angular/core';
import { isRemoteError, remoteAction } from '@sealwire/angular';
import { Bank } from './bank.js';
import { adviceFor } from './connection.js';
import { Payments } from './remotes.js';

interface Stored {
  readonly document: string;
  readonly name: string;
  readonly size: number;
}

/** Bytes of one document at most, as the server says too. */
const MAXIMUM = 64 * 2 ** 20;
/** bytes that are compared in one go */
const PART = 2 ** 20;
const EMPTY = new Uint8Array(0);

@Component({
  selector: 'app-document-panel',
  changeDetection: ChangeDetectionStrategy.OnPush,
  template: `
    <section class="card documents" aria-labelledby="documents-title">
      <header>
        <h3 id="documents-title">A document</h3>
        <button type="button" [disabled]="!bank.accounts()" [attr.aria-disabled]="!isReady()" (click)="attach(sample())">Send a sample</button>
        <label class="button" [class.off]="!isReady()">
          Choose a file
          <input
            class="hidden"
            type="file"
            [disabled]="!bank.accounts()"
            [attr.aria-disabled]="!isReady()"
            (click)="isReady() || $event.preventDefault()"
            (change)="choose($any($event.target))"
          />
        </label>
      </header>
      <progress max="1" [value]="done()" [attr.aria-label]="isDown() ? 'Download' : 'Upload'"></progress>
      <div class="stored">
        <p class="said" role="status" [class.bad]="error()">{{ said() }}</p>
        @if (stored(); as file) {
          <button type="button" [disabled]="!bank.accounts()" [attr.aria-disabled]="!isReady()" (click)="fetch(file)">Get it back</button>
        }
      </div>
    </section>
  `,
})
export class DocumentPanel {
  protected readonly bank = inject(Bank);
  readonly #up = remoteAction(Payments, (payments) => payments.attach, { progress: true });
  readonly #down = remoteAction(Payments, (payments) => payments.document, { progress: true });
  readonly #sent = signal<File | undefined>(undefined);
  protected readonly stored = signal<Stored | undefined>(undefined);
  protected readonly isDown = signal(false);
  /** what came of the last download */
  readonly #back = signal<{ readonly size: number; readonly isSame: boolean } | undefined>(undefined);
  readonly #isReading = signal(false);
  /** what broke the last download off */
  readonly #broken = signal<Error | undefined>(undefined);
  readonly #tooLarge = signal(false);

  readonly #isBusy = computed(() => this.#up.isPending() || this.#down.isPending() || this.#isReading());
  protected readonly isReady = computed(() => this.bank.accounts() !== undefined && !this.#isBusy());
  readonly #failure = computed(() => this.#up.error() ?? this.#broken());
  protected readonly error = computed(() => this.#tooLarge() || this.#failure());

  /** 0 to 1 */
  protected readonly done = computed(() => {
    const size = this.#sent()?.size ?? 0;
    if (size === 0) return 0;
    const { up = 0, down = 0 } = (this.isDown() ? this.#down : this.#up).progress() ?? {};
    if (this.isDown()) return this.#back() ? 1 : Math.min(1, down / size);
    return this.stored() ? 1 : Math.min(1, up / size);
  });

  protected readonly said = computed(() => {
    if (this.#tooLarge()) return `A document has at most ${bytes(MAXIMUM)}; nothing was sent.`;
    const error = this.#failure();
    if (error) return isRemoteError(error) ? `${error.message} ${adviceFor(error)}` : error.message;
    const sent = this.#sent();
    if (!sent) return 'Sealed piece by piece on its way up, and on its way down.';
    const back = this.#back();
    if (this.isDown() && back) {
      return back.isSame
        ? `${bytes(back.size)} came back, byte for byte what was sent.`
        : 'What came back is something else.';
    }
    if (this.#up.isPending() && this.done() === 1) return `${sent.name} is sent, and the server stores it …`;
    if (this.#isBusy())
      return `${this.isDown() ? 'Getting' : 'Sending'} ${sent.name}, ${Math.round(this.done() * 100)} %`;
    return `${sent.name}, ${bytes(sent.size)}, is on the server.`;
  });

  protected choose(input: HTMLInputElement): void {
    const [file] = input.files ?? [];
    if (file) void this.attach(file);
    // the same file may be chosen again
    input.value = '';
  }

  protected async attach(file: File): Promise<void> {
    const account = this.bank.accounts()?.[0];
    if (account === undefined || !this.isReady()) return;
    this.#tooLarge.set(file.size > MAXIMUM);
    if (file.size > MAXIMUM) return;
    this.isDown.set(false);
    this.#back.set(undefined);
    this.stored.set(undefined);
    this.#broken.set(undefined);
    this.#sent.set(file);
    // the error is shown
    const answer = await this.#up.runAsync({ account }, file).catch(() => undefined);
    if (answer) this.stored.set({ document: answer.document, name: file.name, size: answer.size });
  }

  protected async fetch({ document, name }: Stored): Promise<void> {
    if (!this.isReady()) return;
    this.isDown.set(true);
    this.#tooLarge.set(false);
    this.#back.set(undefined);
    this.#broken.set(undefined);
    this.#isReading.set(true);
    try {
      const file = await this.#down.runAsync({ document });
      const blob = await file.blob();
      const sent = this.#sent();
      this.#back.set({ size: blob.size, isSame: sent !== undefined && (await isSame(sent, blob)) });
      save(blob, name);
    } catch (error) {
      // of the call, or of the bytes behind its answer
      this.#broken.set(error as Error);
    } finally {
      this.#isReading.set(false);
    }
  }

  protected sample(): File {
    const words = 'The contract, in words that nobody on the way reads. ';
    return new File([words.repeat(20_000)], 'contract.txt', { type: 'text/plain' });
  }
}

/** Part by part: the page stays responsive, however large they are. */
async function isSame(one: Blob, other: Blob): Promise<boolean> {
  if (one.size !== other.size) return false;
  for (let at = 0; at < one.size; at += PART) {
    const parts = [one, other].map((blob) => blob.slice(at, at + PART).arrayBuffer());
    const [a = EMPTY, b = EMPTY] = (await Promise.all(parts)).map((part) => new Uint8Array(part));
    for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  }
  return true;
}

function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement('a'), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function bytes(count: number): string {
  if (count < 1024) return `${count} bytes`;
  const [value, unit] = count < 2 ** 20 ? [count / 1024, 'KB'] : [count / 2 ** 20, 'MB'];
  return `${value.toFixed(1)} ${unit}`;
}
