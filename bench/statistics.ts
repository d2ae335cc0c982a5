export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export type Cell = string | number;

/** @param texts leading columns of text, on the left; the others are numbers, on the right */
export function printTable(
  title: string,
  head: readonly string[],
  rows: readonly (readonly Cell[])[],
  texts = 1,
): void {
  const lines = [head, ...rows.map((row) => row.map(String))];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const pad = (cell: string, column: number) =>
    column < texts ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0);
  const [first = '', ...rest] = lines.map((line) => line.map(pad).join('  ').trimEnd());
  const top = head.some((cell) => cell !== '') ? `${first}\n${'-'.repeat(first.length)}\n` : '';
  console.log(`\n${title}\n${top}${rest.join('\n')}`);
}
