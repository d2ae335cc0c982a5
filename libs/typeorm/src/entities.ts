import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** Secrets in these tables are wrapped; see KeyEncryption. Times are the database's. */
const time = 'timestamptz';

/**
 * A session, or after its end the tombstone that keeps its cookie from bringing it back and answers renewals.
 *
 * @example
 * import { DataSource, IsNull } from 'typeorm';
 *
 * const database = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [SessionEntity] });
 * const live = await (await database.initialize()).getRepository(SessionEntity).countBy({ endedAt: IsNull() });
 */
@Entity('sealwire_session')
@Index('sealwire_session_live', ['id'], { where: '(ended_at IS NULL)' })
@Index('sealwire_session_key', ['keyId', 'id'], { where: '(ended_at IS NULL)' })
@Index('sealwire_session_module', ['module', 'id'], { where: '(ended_at IS NULL)' })
@Index('sealwire_session_ended', ['endedAt'], { where: '(ended_at IS NOT NULL)' })
@Index('sealwire_session_evicted', ['endedAt'], { where: "(ended_reason = 'evicted'::text)" })
@Index('sealwire_session_erase', ['endedAt'], { where: '((ended_at IS NOT NULL) AND (traffic IS NOT NULL))' })
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
  /** the last lanes that were closed, newest first; with each its window, and whether everything in that is answered */
  @Column('bigint', { name: 'closed_lanes', array: true, default: '{}' }) closedLanes!: string[];
  @Column('bytea', { name: 'closed_windows', array: true, default: '{}' }) closedWindows!: Buffer[];
  @Column('boolean', { name: 'closed_answered', array: true, default: '{}' }) closedAnswered!: boolean[];
  /** of the step-3 frame that carried first calls, and how many */
  @Column('bytea', { name: 'first_digest', nullable: true }) firstDigest!: Buffer | null;
  @Column('smallint', { name: 'first_count', default: 0 }) firstCount!: number;

  @Column('integer', { default: 0 }) epoch!: number;
  /** both traffic secrets of `epoch`; erased a minute after the end */
  @Column('bytea', { nullable: true }) traffic!: Buffer | null;
  /** proves the session until its first frame opened, then it is erased */
  @Column('bytea', { name: 'first_key', nullable: true }) firstKey!: Buffer | null;
  /** proves the session, also after its end */
  @Column('bytea', { nullable: true }) renewal!: Buffer | null;

  @Column(time, { name: 'created_at', default: () => 'now()' }) createdAt!: Date;
  @Column(time, { name: 'last_used_at', default: () => 'now()' }) lastUsedAt!: Date;
  @Column('integer', { name: 'idle_seconds' }) idleSeconds!: number;
  @Column(time, { name: 'expires_at' }) expiresAt!: Date;
  @Column(time, { name: 'ended_at', nullable: true }) endedAt!: Date | null;
  @Column('text', { name: 'ended_reason', nullable: true }) endedReason!: string | null;

  /** the application's, wrapped JSON; null if there is none */
  @Column('bytea', { nullable: true }) data!: Buffer | null;
  @Column('integer', { name: 'data_version', default: 0 }) dataVersion!: number;
}

/**
 * A running server. Its row is its lease: lanes of an owner without a row are free to be taken.
 *
 * @example
 * import { DataSource } from 'typeorm';
 *
 * const database = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [InstanceEntity] });
 * const servers = await (await database.initialize()).getRepository(InstanceEntity).find({ select: { leaseUntil: true } });
 */
@Entity('sealwire_instance')
export class InstanceEntity {
  @PrimaryColumn('text', { name: 'boot_id' }) bootId!: string;
  @Column(time, { name: 'lease_until' }) leaseUntil!: Date;
  /** the time up to which the instance knows what other instances did */
  @Column(time, { name: 'ticked_at' }) tickedAt!: Date;
  /** the machine's boot and process namespace, in which process ids can be compared */
  @Column('text', { nullable: true }) host!: string | null;
  @Column('integer', { nullable: true }) pid!: number | null;
  @Column('text', { name: 'process_start', nullable: true }) processStart!: string | null;
  /** the key-encryption keys that the instance holds */
  @Column('bytea', { name: 'kek_ids', array: true, default: '{}' }) kekIds!: Buffer[];
}

/**
 * A call number that was accepted in a shared lane, or a first call (lane 0) of a session that began in one.
 *
 * @example
 * import { DataSource } from 'typeorm';
 *
 * const database = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [AcceptedEntity] });
 * const running = await (await database.initialize()).getRepository(AcceptedEntity).countBy({ state: 'running' });
 */
@Entity('sealwire_accepted')
@Index('sealwire_accepted_result', ['at'], { where: '(result IS NOT NULL)' })
export class AcceptedEntity {
  @PrimaryColumn('bytea', { name: 'session_id' }) sessionId!: Buffer;
  @PrimaryColumn('bigint') lane!: string;
  @PrimaryColumn('bigint') counter!: string;
  @Column('bytea') digest!: Buffer;
  @Column('text') owner!: string;
  @Column('text', { default: 'running' }) state!: 'running' | 'done';
  /** the sealed result frame, which only the session's keys open */
  @Column('bytea', { nullable: true }) result!: Buffer | null;
  /** how often the number came again */
  @Column('integer', { default: 0 }) repeats!: number;
  @Column(time, { default: () => 'now()' }) at!: Date;
}

/**
 * The outcome of a call that runs exactly once, written in the call's own transaction. Whoever knows a call's identity may ask
 * for its outcome, so the table has only MACs of it.
 *
 * @example
 * import { DataSource } from 'typeorm';
 *
 * const database = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [OutcomeEntity] });
 * const kept = await (await database.initialize()).getRepository(OutcomeEntity).countBy({ module: 'payments' });
 */
@Entity('sealwire_outcome')
@Index('sealwire_outcome_at', ['at'])
export class OutcomeEntity {
  @PrimaryColumn('text') module!: string;
  /** MAC of the call's identity */
  @PrimaryColumn('bytea') call!: Buffer;
  /** MAC of the function's name and the digest of its arguments: the identity is good for this call only */
  @Column('bytea') binding!: Buffer;
  @Column('bytea', { nullable: true }) outcome!: Buffer | null;
  @Column(time, { default: () => 'now()' }) at!: Date;
}

/**
 * A key that seals cookies. The table is unlogged: cookie keys reach neither the write-ahead log nor a replica nor a backup.
 *
 * @example
 * import { DataSource } from 'typeorm';
 *
 * const database = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [CookieKeyEntity] });
 * const keys = await (await database.initialize()).getRepository(CookieKeyEntity).find({ select: { createdAt: true } });
 */
@Entity('sealwire_cookie_key')
export class CookieKeyEntity {
  @PrimaryColumn('bytea') id!: Buffer;
  @Column('bytea') wrapped!: Buffer;
  @Column(time, { name: 'created_at', default: () => 'now()' }) createdAt!: Date;
}

/**
 * A key of some duration, wrapped: a server key, a SecureKey, or the one that marks the database's incarnation.
 *
 * @example
 * import { DataSource } from 'typeorm';
 *
 * const database = new DataSource({ type: 'postgres', url: process.env.DATABASE_URL, entities: [KeyEntity] });
 * const devices = await (await database.initialize()).getRepository(KeyEntity).countBy({ kind: 'secure' });
 */
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

/** All entities of the store, for the `entities` of a DataSource. */
export const sealwireEntities = [
  SessionEntity,
  InstanceEntity,
  AcceptedEntity,
  OutcomeEntity,
  CookieKeyEntity,
  KeyEntity,
];
