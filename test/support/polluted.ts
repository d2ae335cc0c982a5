/** Runs something while `Object.prototype` has properties, as `merge({}, JSON.parse(text))` of a careless library leaves them. */
export async function polluted<T>(names: object, run: () => T): Promise<Awaited<T>> {
  Object.assign(Object.prototype, names);
  try {
    return await run();
  } finally {
    for (const name of Object.keys(names)) Reflect.deleteProperty(Object.prototype, name);
  }
}
