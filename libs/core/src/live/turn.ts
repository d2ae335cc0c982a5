type Turn = (task: () => void) => unknown;

/** Runs a task when everything that is ready now has run. */
export const nextTurn: Turn = (globalThis as { setImmediate?: Turn }).setImmediate ?? ((task) => setTimeout(task, 0));
