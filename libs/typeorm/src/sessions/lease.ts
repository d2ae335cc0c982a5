import { readFileSync, readlinkSync } from 'node:fs';
import { type Primitives, toHex } from '@sealwire/core';
import type { Query } from '../connection/database.js';

/** seconds */
export const LEASE = 15;
const MARGIN = 3;

interface OwnerRow {
  readonly boot_id: string;
  readonly lapsed: boolean;
  readonly host: string | null;
  readonly pid: number | null;
  readonly process_start: string | null;
}

/**
 * This process's row in sealwire_instance. The row is the fence: whoever takes a lane over deletes its owner's row first, boot
 * ids never come back, so an owner once seen without a row stays without one, and an owner whose renewal finds no row has lost.
 */
export class Lease {
  bootId = '';
  private readonly identity = ownHostIdentity();
  private monotonicEnd = Number.NEGATIVE_INFINITY;
  private wallEnd = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly primitives: Primitives,
    /** nobody else can open this database (PGlite's folder lock): no other instance is alive, and none can take over */
    private readonly alone: boolean,
    /** ids of the key-encryption keys, which say whether this process can open what another one wraps */
    private readonly kekIds: readonly Uint8Array[],
  ) {}

  /** Whether numbers may still be accepted. This ends before the database's lease does. */
  holds(): boolean {
    if (this.alone) return this.bootId !== '';
    // the monotonic clock stands still while a machine sleeps; the other one cannot be trusted to run forward: both must agree
    return performance.now() < this.monotonicEnd && Date.now() < this.wallEnd;
  }

  /** A new life: nothing owned before belongs to it. */
  async take(query: Query): Promise<void> {
    const sent = clocks();
    const bootId = toHex(this.primitives.random(16));
    await query(
      `INSERT INTO sealwire_instance (boot_id, lease_until, ticked_at, host, pid, process_start, kek_ids)
       VALUES ($1, now() + ${LEASE} * interval '1 second', now(), $2, $3, $4, $5)`,
      [bootId, this.identity?.host, this.identity?.pid, this.identity?.processStart, this.kekIds],
    );
    this.bootId = bootId;
    this.renewed(sent);
  }

  /** @param sent clocks from before the renewing statement was sent: the lease began no earlier */
  renewed(sent: Clocks): void {
    this.monotonicEnd = sent.monotonic + (LEASE - MARGIN) * 1_000;
    this.wallEnd = sent.wall + (LEASE - MARGIN) * 1_000;
  }

  lost(): void {
    this.monotonicEnd = Number.NEGATIVE_INFINITY;
    if (this.alone) this.bootId = '';
  }

  /** Removes the rows of instances that are dead: `owner`'s, or all. Answers whether one went. */
  async removeGone(query: Query, owner?: string): Promise<boolean> {
    const rows = await query<OwnerRow>(
      `SELECT boot_id, lease_until < now() AS lapsed, host, pid, process_start FROM sealwire_instance
       WHERE boot_id <> $1 AND ($2::text IS NULL OR boot_id = $2)`,
      [this.bootId, owner],
    );
    const gone = rows.filter((row) => this.alone || this.provablyGone(row)).map((row) => row.boot_id);
    if (gone.length === 0 && !rows.some((row) => row.lapsed)) return false;
    // the row is looked at again under its lock: a lease renewed meanwhile stands
    const removed = await query(
      `DELETE FROM sealwire_instance WHERE boot_id <> $1 AND ($2::text IS NULL OR boot_id = $2)
         AND (lease_until < now() OR boot_id = ANY($3::text[])) RETURNING boot_id`,
      [this.bootId, owner, gone],
    );
    return removed.length > 0;
  }

  private provablyGone({ host, pid, process_start }: OwnerRow): boolean {
    if (host === null || pid === null || process_start === null || host !== this.identity?.host) return false;
    const other: HostIdentity = { host, pid, processStart: process_start };
    return isGone(other);
  }
}

interface Clocks {
  readonly monotonic: number;
  readonly wall: number;
}

export function clocks(): Clocks {
  return { monotonic: performance.now(), wall: Date.now() };
}

/** A process on a machine, so that another one there can tell whether it is gone for good. */
interface HostIdentity {
  /** the kernel's boot and the process namespace */
  readonly host: string;
  readonly pid: number;
  /** clock ticks from boot to start: tells a process from a later one with the same id */
  readonly processStart: string;
}

/** Undefined if the system does not tell (not Linux): then only the lease says that an owner is gone. */
export function ownHostIdentity(): HostIdentity | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    const processStart = startOf(process.pid);
    if (processStart === undefined) return undefined;
    return { host: `${boot} ${readlinkSync('/proc/self/ns/pid')}`, pid: process.pid, processStart };
  } catch {
    return undefined;
  }
}

/** Whether the process can run no more. A stopped one (SIGSTOP) can. `other.host` must be our own. */
export function isGone(other: HostIdentity): boolean {
  try {
    return startOf(other.pid) !== other.processStart;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}

/** Field 22 of /proc/pid/stat; undefined for a process that is dead but not yet collected by its parent. */
function startOf(pid: number): string | undefined {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // the name, field 2, is in brackets and may hold anything
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
}
