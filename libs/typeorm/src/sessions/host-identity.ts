import { readFileSync, readlinkSync } from 'node:fs';

/** A process on a machine, so that another one there can tell whether it is gone for good. */
export interface HostIdentity {
  /** the kernel's boot and the process namespace */
  readonly host: string;
  readonly pid: number;
  /** clock ticks from boot to start: tells a process from a later one with the same id */
  readonly processStart: string;
}

/** Undefined where the system does not tell (not Linux): then only the lease says that an owner is gone. */
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
