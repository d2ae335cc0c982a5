/**
 * Many callers, one statement: what arrives while a statement runs goes into the next one. A lone caller waits for no timer.
 */
export class GroupCommit<In, Out> {
  private waiting: { readonly item: In; resolve(out: Out): void; reject(error: unknown): void }[] = [];
  private running = false;

  /** @param commit answers one result an item, in their order */
  constructor(
    private readonly commit: (items: In[]) => Promise<Out[]>,
    private readonly largest = 500,
  ) {}

  add(item: In): Promise<Out> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ item, resolve, reject });
      if (this.running) return;
      this.running = true;
      // what else this turn of the event loop brings shares the first statement
      setImmediate(() => this.run());
    });
  }

  private async run(): Promise<void> {
    while (this.waiting.length > 0) {
      const group = this.waiting.splice(0, this.largest);
      try {
        const results = await this.commit(group.map(({ item }) => item));
        group.forEach(({ resolve, reject }, i) => {
          if (i < results.length) resolve(results[i] as Out);
          else reject(new Error('A result is missing in the group.'));
        });
      } catch (error) {
        for (const { reject } of group) reject(error);
      }
    }
    this.running = false;
  }
}
