import { onTestFinished, vi } from 'vitest';

type Listener = () => void;

/** What the client uses of a page or, without `document`, of a worker; until the test is over. */
export function stubPage({ isOnline = true, isWorker = false } = {}) {
  const navigator = { onLine: isOnline };
  const listeners = new Map<string, Set<Listener>>();
  const target = {
    addEventListener(name: string, listener: Listener) {
      const all = listeners.get(name) ?? new Set();
      listeners.set(name, all.add(listener));
    },
    removeEventListener(name: string, listener: Listener) {
      if (listeners.get(name)?.delete(listener) && listeners.get(name)?.size === 0) listeners.delete(name);
    },
  };
  const document = { ...target, visibilityState: 'visible' };
  vi.stubGlobal('navigator', navigator);
  vi.stubGlobal('addEventListener', target.addEventListener);
  vi.stubGlobal('removeEventListener', target.removeEventListener);
  if (!isWorker) vi.stubGlobal('document', document);
  onTestFinished(() => void vi.unstubAllGlobals());
  const dispatch = (name: string): void => {
    for (const listener of [...(listeners.get(name) ?? [])]) listener();
  };
  return {
    document,
    navigator,
    dispatch,
    setOnline(value: boolean): void {
      navigator.onLine = value;
      dispatch(value ? 'online' : 'offline');
    },
    /** names of the events that anybody listens to */
    get heard(): string[] {
      return [...listeners.keys()].sort();
    },
  };
}
