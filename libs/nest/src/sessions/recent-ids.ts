/** Ids seen lately, a bounded number: the older half goes at once. */
export class RecentIds {
  private recent = new Set<string>();
  private older = new Set<string>();

  constructor(private readonly most = 20_000) {}

  /** False where it is there already. */
  add(id: string): boolean {
    if (this.recent.has(id) || this.older.has(id)) return false;
    if (this.recent.size >= this.most / 2) {
      this.older = this.recent;
      this.recent = new Set();
    }
    this.recent.add(id);
    return true;
  }

  delete(id: string): void {
    this.recent.delete(id);
    this.older.delete(id);
  }
}
