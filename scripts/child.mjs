import { once } from 'node:events';

/**
 * For `node --import`: a child whose parent is gone, however it went, sees the channel close and ends. Worker threads of the child
 * import this too, and have no channel. Node cuts a data URL at a question mark.
 */
export const END_WITH_PARENT =
  "data:text/javascript,process.once('disconnect',()=>process.kill(process.pid,'SIGTERM'));process.channel&&process.channel.unref()";

/** Resolves when the process has ended; it has ten seconds to do so by itself. */
export async function end(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  child.kill('SIGTERM');
  await exited;
  clearTimeout(timer);
}
