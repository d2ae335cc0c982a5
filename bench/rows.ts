import { CONTROL, type ContenderName } from './contenders.js';

/** `table`: it only stands in the table of its size */
export type Measure = 'rate' | 'p50' | 'table';

/** A contender held against another at one size. */
export interface Comparison {
  readonly row: string;
  readonly size: number;
  readonly contender: ContenderName;
  readonly control: ContenderName;
  readonly measure: Measure;
  readonly goal?: string;
}

const SIZES = { '200': 200, '1k': 1_024, '64k': 65_536 };
type SizeName = keyof typeof SIZES;
const PEERS: readonly ContenderName[] = ['sealed', 'jose', 'trpc', 'orpc', 'aes', 'node'];

export const COMPARISONS: readonly Comparison[] = [
  ...compare('sealed', 'sealed', CONTROL, { '200': '2.0x', '1k': '1.8x', '64k': '1.2x' }),
  ...compare('batch', 'sealedBatch', CONTROL, { '200': '22x', '1k': '9x', '64k': '1.4x' }),
  ...compare('same-application', 'sealed', 'sameApplication', { '200': '1.5x', '1k': '1.5x' }),
  ...compare('fastify', 'sealed', 'nestFastify', { '200': '1.0x', '1k': '1.0x' }),
  ...compare('on-fastify', 'sealedFastify', 'nestFastify', { '200': undefined, '1k': undefined }),
  ...compare('guarded', 'sealedGuarded', 'nestGuarded', { '200': '1.5x', '1k': '1.5x' }),
  ...compare('p50', 'sealed', CONTROL, { '200': '0.9x' }, 'p50'),
  ...PEERS.flatMap((peer) =>
    compare('peers', peer, CONTROL, { '200': undefined, '1k': undefined, '64k': undefined }, 'table'),
  ),
];

/** Rows that are no comparison of calls; each says in its own table what it measured. */
export const OTHER_ROWS = [
  'client-200',
  'transport-200',
  'handshake',
  'delay',
  'memory',
  'store',
  'stream-down',
  'stream-up',
  'stream-items',
  'stream-first',
  'stream-idle',
] as const;
export type OtherRow = (typeof OTHER_ROWS)[number];

export const ROW_NAMES: readonly string[] = [...new Set(COMPARISONS.map(({ row }) => row)), ...OTHER_ROWS];

function compare(
  name: string,
  contender: ContenderName,
  control: ContenderName,
  goals: Partial<Record<SizeName, string | undefined>>,
  measure: Measure = 'rate',
): Comparison[] {
  return Object.entries(goals).map(([size, goal]) => ({
    row: `${name}-${size}`,
    size: SIZES[size as SizeName],
    contender,
    control,
    measure,
    ...(goal === undefined ? {} : { goal }),
  }));
}
