import type { MigrationInterface, QueryRunner } from 'typeorm';
import { checkNames } from './connection/schema.js';

/** The tables of the store, for PGlite and PostgreSQL from 14 on. */
class SealwireTables1767225600000 implements MigrationInterface {
  readonly name = 'SealwireTables1767225600000';

  async up(runner: QueryRunner): Promise<void> {
    // TypeORM 0.3 knows this name of the DataSource alone
    await checkNames(runner.connection.options, (statement) => runner.query(statement));
    // a fill factor leaves room for updates in place: a session's last use is written often and in no index
    await runner.query(`
      CREATE TABLE sealwire_session (
        id bytea PRIMARY KEY,
        module text NOT NULL,
        key_id bytea,
        key_size smallint NOT NULL,
        peer text,
        lane bigint NOT NULL,
        shared boolean NOT NULL,
        owner text,
        release_wanted boolean NOT NULL DEFAULT false,
        lane_incarnation bytea NOT NULL,
        floor bigint NOT NULL DEFAULT -1,
        floored_at timestamptz,
        closed_lanes bigint[] NOT NULL DEFAULT '{}',
        closed_windows bytea[] NOT NULL DEFAULT '{}',
        closed_answered boolean[] NOT NULL DEFAULT '{}',
        first_digest bytea,
        first_count smallint NOT NULL DEFAULT 0,
        epoch integer NOT NULL DEFAULT 0,
        traffic bytea,
        first_key bytea,
        renewal bytea,
        created_at timestamptz NOT NULL DEFAULT now(),
        last_used_at timestamptz NOT NULL DEFAULT now(),
        idle_seconds integer NOT NULL,
        expires_at timestamptz NOT NULL,
        ended_at timestamptz,
        ended_reason text,
        data bytea,
        data_version integer NOT NULL DEFAULT 0
      ) WITH (fillfactor = 80)`);
    // the living are few among the tombstones, and are read in the order of their ids
    await runner.query('CREATE INDEX sealwire_session_live ON sealwire_session (id) WHERE ended_at IS NULL');
    await runner.query('CREATE INDEX sealwire_session_key ON sealwire_session (key_id, id) WHERE ended_at IS NULL');
    await runner.query('CREATE INDEX sealwire_session_module ON sealwire_session (module, id) WHERE ended_at IS NULL');
    await runner.query('CREATE INDEX sealwire_session_ended ON sealwire_session (ended_at) WHERE ended_at IS NOT NULL');
    // tombstones that go early, and sessions whose keys are to be erased: few among the tombstones
    await runner.query(
      `CREATE INDEX sealwire_session_evicted ON sealwire_session (ended_at) WHERE ended_reason = 'evicted'`,
    );
    await runner.query(
      'CREATE INDEX sealwire_session_erase ON sealwire_session (ended_at) WHERE ended_at IS NOT NULL AND traffic IS NOT NULL',
    );
    await runner.query('CREATE INDEX sealwire_session_wanted ON sealwire_session (owner) WHERE release_wanted');
    await runner.query(`
      CREATE TABLE sealwire_instance (
        boot_id text PRIMARY KEY,
        lease_until timestamptz NOT NULL,
        ticked_at timestamptz NOT NULL,
        host text,
        pid integer,
        process_start text,
        kek_ids bytea[] NOT NULL DEFAULT '{}'
      )`);
    await runner.query(`
      CREATE TABLE sealwire_accepted (
        session_id bytea NOT NULL,
        lane bigint NOT NULL,
        counter bigint NOT NULL,
        digest bytea NOT NULL,
        owner text NOT NULL,
        state text NOT NULL DEFAULT 'running',
        result bytea,
        repeats integer NOT NULL DEFAULT 0,
        at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (session_id, lane, counter)
      ) WITH (fillfactor = 80)`);
    // stored results whose time is over: few among the numbers, which stay
    await runner.query('CREATE INDEX sealwire_accepted_result ON sealwire_accepted (at) WHERE result IS NOT NULL');
    await runner.query(`
      CREATE TABLE sealwire_outcome (
        module text NOT NULL,
        call bytea NOT NULL,
        binding bytea NOT NULL,
        outcome bytea,
        at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (module, call)
      )`);
    await runner.query('CREATE INDEX sealwire_outcome_at ON sealwire_outcome (at)');
    await runner.query(`
      CREATE UNLOGGED TABLE sealwire_cookie_key (
        id bytea PRIMARY KEY,
        wrapped bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now()
      )`);
    await runner.query(`
      CREATE TABLE sealwire_key (
        kind text NOT NULL,
        module text NOT NULL,
        id bytea NOT NULL,
        wrapped bytea NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        valid_until timestamptz,
        PRIMARY KEY (kind, module, id)
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    for (const table of ['key', 'cookie_key', 'outcome', 'accepted', 'instance', 'session']) {
      await runner.query(`DROP TABLE sealwire_${table}`);
    }
  }
}

/** All migrations of the store, for the `migrations` of a DataSource. */
export const sealwireMigrations = [SealwireTables1767225600000];
