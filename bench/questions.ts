import { Session } from 'node:inspector/promises';
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { groupProfile, type ProfileGroup } from './profile.js';

export interface Usage {
  /** microseconds of CPU that the process spent so far */
  readonly cpu: number;
}

export interface Memory {
  /** bytes in use after a collection, those outside the heap included */
  readonly used: number;
  readonly rss: number;
}

/** Milliseconds by which turns of the event loop came late. */
export interface Delay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** A function that a call passed; the file 'await' means an await. */
export interface Step {
  readonly file: string;
  readonly name: string;
}

const RESOLUTION = 1;
let delay: IntervalHistogram | undefined;
let peak: { readonly before: number; highest: number; readonly timer: NodeJS.Timeout } | undefined;
let steps: Step[] = [];
const inspector = new Session();

const questions: Record<string, (...parameters: never[]) => unknown> = {
  usage,
  /** Not between figures: a forced collection also throws away what was compiled. */
  memory(): Memory {
    for (let i = 0; i < 3; i++) globalThis.gc?.();
    const { heapUsed, external, rss } = process.memoryUsage();
    return { used: heapUsed + external, rss };
  },
  /** Begins to watch how much memory the process takes. */
  startPeak(): void {
    for (let i = 0; i < 3; i++) globalThis.gc?.();
    const before = process.memoryUsage.rss();
    peak = { before, highest: before, timer: setInterval(watchPeak, 5) };
  },
  /** bytes by which the process grew at most */
  stopPeak(): number {
    if (!peak) throw new Error('nobody watched');
    watchPeak();
    clearInterval(peak.timer);
    return peak.highest - peak.before;
  },
  /** A histogram that is enabled again would count the time between, so each stretch of load has its own. */
  startDelay(): void {
    delay = monitorEventLoopDelay({ resolution: RESOLUTION });
    delay.enable();
  },
  stopDelay(): Delay {
    delay?.disable();
    return { p50: late(50), p99: late(99), max: late(100) };
  },
  startTrace(): void {
    steps = [];
    Object.assign(globalThis, { sealwireTrace: (file: string, name: string) => steps.push({ file, name }) });
  },
  stopTrace(): Step[] {
    Object.assign(globalThis, { sealwireTrace: () => undefined });
    return steps;
  },
  async startProfile(): Promise<void> {
    inspector.connect();
    await inspector.post('Profiler.enable');
    await inspector.post('Profiler.setSamplingInterval', { interval: 200 });
    await inspector.post('Profiler.start');
  },
  async stopProfile(): Promise<ProfileGroup[]> {
    const { profile } = await inspector.post('Profiler.stop');
    inspector.disconnect();
    return groupProfile(profile);
  },
};

export function usage(): Usage {
  const { user, system } = process.cpuUsage();
  return { cpu: user + system };
}

function watchPeak(): void {
  if (peak) peak.highest = Math.max(peak.highest, process.memoryUsage.rss());
}

function late(percentile: number): number {
  return Math.max(0, (delay?.percentile(percentile) ?? 0) / 1e6 - RESOLUTION);
}

/** Answers `ServerProcess.ask()`, and ends when the channel closes. */
export function answerQuestions(more: typeof questions = {}): void {
  const all = { ...questions, ...more };
  process.on('message', async ({ id, question, parameters }: { id: number; question: string; parameters: never[] }) => {
    try {
      process.send?.({ id, answer: await all[question]?.(...parameters) });
    } catch (error) {
      process.send?.({ id, error: String(error instanceof Error ? error.stack : error) });
    }
  });
  process.once('disconnect', () => process.exit());
}
