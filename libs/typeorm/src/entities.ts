import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** Secrets in these tables are wrapped; see KeyEncryption. Times are the database's. */
const time = 'timestamptz';

/** A session, or after its end the tombstone that keeps its cookie from bringing it back and answers renewals. */
@Entity('sealwire_session')
@Index('sealwire_session_key', ['keyId'])
@Index('sealwire_session_ended', ['endedAt'], { where: '(ended_at IS NOT NULL)' })
@Index('sealwire_session_wanted', ['owner'], { where: 'release_wanted' })
export class SessionEntity {
  @PrimaryColumn('bytea') id!: Buffer;
  @Column('text') module!: string;
  @Column('bytea', { name: 'key_id', nullable: true }) keyId!: Buffer | null;
  @Column('smallint', { name: 'key_size' }) keySize!: number;
  @Column('text', { nullable: true }) peer!: string | null;

  @Column('bigint') lane!: string;
  /** every accepted number of this lane is in sealwire_accepted; otherwise it has an owner that keeps them in memory */
  @Column('boolean') shared!: boolean;
  @Column('text', { nullable: true }) owner!: string | null;
  /** another instance waits for the owner to close the lane */
  @Column('boolean', { name: 'release_wanted', default: false }) releaseWanted!: boolean;
  @Column('bytea', { name: 'lane_incarnation' }) laneIncarnation!: Buffer;
  /** numbers of this lane at or below it are accepted no more, so that their rows may go */
  @Column('bigint', { default: -1 }) floor!: string;
  @Column(time, { name: 'floored_at', nullable: true }) flooredAt!: Date | null;
  @Column('bigint', { name: 'closed_lane', nullable: true }) closedLane!: string | null;
  @Column('bytea', { name: 'closed_window', nullable: true }) closedWindow!: Buffer | null;

  @Column('integer', { default: 0 }) epoch!: number;
  /** both traffic secrets of `epoch`; wiped at the end */
  @Column('bytea', { nullable: true }) traffic!: Buffer | null;
  @Column('bytea', { nullable: true }) exporter!: Buffer | null;
  /** first key, then the renewal key: what a client proves the session with, also after its end */
  @Column('bytea') proof!: Buffer;

  @Column(time, { name: 'created_at', default: () => 'now()' }) createdAt!: Date;
  @Column(time, { name: 'last_used_at', default: () => 'now()' }) lastUsedAt!: Date;
  @Column('integer', { name: 'idle_seconds' }) idleSeconds!: number;
  @Column(time, { name: 'expires_at' }) expiresAt!: Date;
  @Column(time, { name: 'ended_at', nullable: true }) endedAt!: Date | null;
  @Column('text', { name: 'ended_reason', nullable: true }) endedReason!: string | null;

  @Column('jsonb', { default: {} }) data!: Record<string, unknown>;
  @Column('integer', { name: 'data_version', default: 0 }) dataVersion!: number;
}

/** A running server. Its row is its lease: lanes of an owner without a row are free to be taken. */
@Entity('sealwire_instance')
export class InstanceEntity {
  @PrimaryColumn('text', { name: 'boot_id' }) bootId!: string;
  @Column(time, { name: 'lease_until' }) leaseUntil!: Date;
  /** what the instance has learned of other instances' doings up to */
  @Column(time, { name: 'ticked_at' }) tickedAt!: Date;
  /** the machine's boot and process namespace, where process ids can be compared */
  @Column('text', { nullable: true }) host!: string | null;
  @Column('integer', { nullable: true }) pid!: number | null;
  @Column('text', { name: 'process_start', nullable: true }) processStart!: string | null;
}

/** A call number that was accepted in a shared lane. */
@Entity('sealwire_accepted')
@Index('sealwire_accepted_reply', ['at'], { where: '(reply IS NOT NULL)' })
export class AcceptedEntity {
  @PrimaryColumn('bytea', { name: 'session_id' }) sessionId!: Buffer;
  @PrimaryColumn('bigint') lane!: string;
  @PrimaryColumn('bigint') counter!: string;
  @Column('bytea') digest!: Buffer;
  @Column('text') owner!: string;
  @Column('text', { default: 'running' }) state!: 'running' | 'done';
  @Column('bytea', { nullable: true }) reply!: Buffer | null;
  /** how often the number came again */
  @Column('integer', { default: 0 }) repeats!: number;
  @Column(time, { default: () => 'now()' }) at!: Date;
}

/** What a call that runs exactly once came to; written in the call's own transaction. */
@Entity('sealwire_outcome')
@Index('sealwire_outcome_at', ['at'])
export class OutcomeEntity {
  @PrimaryColumn('text') module!: string;
  /** empty where no SecureKey was used */
  @PrimaryColumn('bytea', { name: 'key_id' }) keyId!: Buffer;
  @PrimaryColumn('bytea', { name: 'call_id' }) callId!: Buffer;
  @Column('bytea', { nullable: true }) outcome!: Buffer | null;
  @Column(time, { default: () => 'now()' }) at!: Date;
}

/** An unlogged table: cookie keys reach neither the write-ahead log nor a replica nor a backup. */
@Entity('sealwire_cookie_key')
export class CookieKeyEntity {
  @PrimaryColumn('bytea') id!: Buffer;
  @Column('bytea') wrapped!: Buffer;
  @Column(time, { name: 'created_at', default: () => 'now()' }) createdAt!: Date;
}

/** Keys of some duration: server keys, SecureKeys, and the one that marks the database's incarnation. */
@Entity('sealwire_key')
export class KeyEntity {
  @PrimaryColumn('text') kind!: 'server' | 'secure' | 'incarnation';
  /** empty but for a SecureKey */
  @PrimaryColumn('text') module!: string;
  @PrimaryColumn('bytea') id!: Buffer;
  @Column('bytea') wrapped!: Buffer;
  @Column(time, { name: 'created_at', default: () => 'now()' }) createdAt!: Date;
  @Column(time, { name: 'valid_until', nullable: true }) validUntil!: Date | null;
}

export const sealwireEntities = [
  SessionEntity,
  InstanceEntity,
  AcceptedEntity,
  OutcomeEntity,
  CookieKeyEntity,
  KeyEntity,
];
