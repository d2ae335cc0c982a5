import { SealwireError } from '@sealwire/core/calls';

interface Listened {
  addEventListener?(name: string, listener: () => void): void;
  removeEventListener?(name: string, listener: () => void): void;
}

/** What is used of a page, or of the global scope of a worker. Node has nothing of it. */
interface Surroundings extends Listened {
  readonly navigator?: { readonly onLine?: boolean };
  readonly location?: { readonly href: string; readonly origin: string };
  readonly document?: Listened & { readonly baseURI?: string; readonly visibilityState?: string };
}

/** The global scope, as it is when it is asked. */
export const RUNTIME = globalThis as unknown as Surroundings;

/** Origin of the page, or undefined on Node. */
export function pageOrigin(): string | undefined {
  return RUNTIME.location?.origin;
}

/** Whether the runtime says that there is no network. Node says nothing, and is taken to be online. */
export function isOffline(): boolean {
  return RUNTIME.navigator?.onLine === false;
}

export function offline(): SealwireError {
  return new SealwireError('unreachable', 'this device is offline (navigator.onLine is false).');
}

/** Waits for a moment that comes sooner if the network or the page comes back. */
export interface Rousable {
  /** Called once; whoever waits on calls {@link rouseLater} again. */
  rouse(): void;
}

const WAITING = new Set<Rousable>();

/** Milliseconds: Chromium tells its workers by no event that the network is back. */
const LOOK_MS = 1_000;
let look: ReturnType<typeof setInterval> | undefined;

/** The page's listeners exist as long as something waits. */
export function rouseLater(item: Rousable): void {
  if (WAITING.size === 0) listenToPage('addEventListener');
  WAITING.add(item);
  if (isOffline() && !RUNTIME.document) look ??= setInterval(onReturn, LOOK_MS);
}

export function rouseNoMore(item: Rousable): void {
  if (!WAITING.delete(item) || WAITING.size > 0) return;
  listenToPage('removeEventListener');
  lookNoMore();
}

function lookNoMore(): void {
  clearInterval(look);
  look = undefined;
}

function listenToPage(method: keyof Listened): void {
  const page = RUNTIME;
  page[method]?.('online', onReturn);
  page[method]?.('pageshow', onReturn);
  page.document?.[method]?.('visibilitychange', onShown);
}

function onShown(): void {
  if (RUNTIME.document?.visibilityState !== 'hidden') onReturn();
}

function onReturn(): void {
  if (isOffline()) return;
  lookNoMore();
  for (const item of [...WAITING]) {
    rouseNoMore(item);
    item.rouse();
  }
}

/** Resolves when the device is online. @throws the reason of the signal */
export function whenOnline(signal: AbortSignal): Promise<void> | undefined {
  if (!isOffline()) return undefined;
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const item = {
      rouse: () => {
        signal.removeEventListener('abort', stop);
        resolve();
      },
    };
    const stop = (): void => {
      rouseNoMore(item);
      reject(signal.reason);
    };
    signal.addEventListener('abort', stop, { once: true });
    rouseLater(item);
  });
}

/** What relative URLs belong to; undefined on Node. */
function base(): string | undefined {
  const { document, location } = RUNTIME;
  return document?.baseURI ?? location?.href;
}

/** A relative URL as `fetch` of any runtime takes it. */
export function absolute(url: string): string {
  return new URL(url, base()).href;
}

/** Path of a URL as requests go there: without spaces around it, and with `/` for each backslash. */
export function pathOf(url: string): string {
  const from = base() ?? 'http://localhost';
  return URL.canParse(url, from) ? new URL(url, from).pathname : url;
}

export function originOf(url: string): string {
  return URL.canParse(url, base()) ? new URL(url, base()).origin : url;
}

/** @throws SealwireError `bad_configuration` for a URL that no request can be sent to from here */
export function checkUrl(url: string): void {
  const page = base();
  if (!URL.canParse(url, page)) {
    const relative = !/^[a-z][a-z0-9+.-]*:/i.test(url);
    const why = relative
      ? '. There is no page here that a relative one belongs to: on a server, or where a page is rendered, give the whole address'
      : ', which is no address';
    throw badUrl(`url must be absolute, as in https://example.com/remote/payments, not ${url}${why}.`);
  }
  const { protocol, username, password } = new URL(url, page);
  if (username !== '' || password !== '') {
    throw badUrl('url must hold no user and no password, which fetch refuses; use `headers`.');
  }
  if (protocol === 'http:' || protocol === 'https:') return;
  throw badUrl(`url must begin with https:// or http://, not ${protocol}//.`);
}

function badUrl(message: string): SealwireError {
  return new SealwireError('bad_configuration', message);
}
