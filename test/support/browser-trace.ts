import type { Browser, Page } from 'playwright-core';

/** What something cost a page. */
export interface Cost {
  /** milliseconds of CPU that the page's main thread spent */
  readonly main: number;
  /** those of its longest task */
  readonly longest: number;
  /** milliseconds on the clock */
  readonly wall: number;
}

interface TraceEvent {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
  /** microseconds when it began */
  readonly ts: number;
  /** microseconds of CPU of the thread: other processes of a busy machine do not count */
  readonly tdur?: number;
}

const MARK = 'measured';

/**
 * Counts the tasks of the page's main thread while it works.
 *
 * @param work gives the milliseconds that the page saw
 */
export async function costOf(browser: Browser, page: Page, work: () => Promise<number>): Promise<Cost> {
  const session = await browser.newBrowserCDPSession();
  const events: TraceEvent[] = [];
  session.on('Tracing.dataCollected', ({ value }) => events.push(...(value as unknown as TraceEvent[])));
  // what loading left to do is not counted
  await page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 200)));
  const includedCategories = ['disabled-by-default-devtools.timeline', 'blink.user_timing'];
  await session.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories } });
  await page.evaluate((mark) => void performance.mark(mark), MARK);
  const wall = await work();
  const complete = new Promise((resolve) => session.once('Tracing.tracingComplete', resolve));
  await session.send('Tracing.end');
  await complete;
  await session.detach();
  // other pages, those of the browser itself too, have threads of their own
  const thread = events.find(({ name }) => name === MARK);
  const tasks = events
    // the task that set the mark belongs to the measuring
    .filter(
      ({ name, pid, tid, ts }) => name === 'RunTask' && pid === thread?.pid && tid === thread.tid && ts > thread.ts,
    )
    .map(({ tdur = 0 }) => tdur / 1_000);
  if (tasks.length === 0) throw new Error('The trace holds no task of the page.');
  return { main: tasks.reduce((sum, task) => sum + task, 0), longest: Math.max(...tasks), wall };
}
