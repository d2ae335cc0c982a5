import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreatePayments1760000000000 implements MigrationInterface {
  readonly name = 'CreatePayments1760000000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE account (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        owner text NOT NULL,
        balance bigint NOT NULL CHECK (balance >= 0),
        entries integer NOT NULL DEFAULT 0,
        opened timestamptz NOT NULL DEFAULT now()
      )`);
    await runner.query(`
      CREATE TABLE transfer (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        "from" uuid REFERENCES account,
        "fromEntry" integer,
        "to" uuid NOT NULL REFERENCES account,
        "toEntry" integer NOT NULL,
        amount bigint NOT NULL CHECK (amount > 0),
        note text NOT NULL,
        booked timestamptz NOT NULL DEFAULT now(),
        CHECK ("from" <> "to")
      )`);
    await runner.query('CREATE UNIQUE INDEX transfer_from ON transfer ("from", "fromEntry")');
    await runner.query('CREATE UNIQUE INDEX transfer_to ON transfer ("to", "toEntry")');
    await runner.query(`
      CREATE TABLE document (
        id uuid PRIMARY KEY,
        account uuid NOT NULL REFERENCES account,
        name text NOT NULL,
        type text NOT NULL,
        size bigint NOT NULL CHECK (size >= 0)
      )`);
    await runner.query(`
      CREATE TABLE document_part (
        document uuid NOT NULL,
        position bigint NOT NULL,
        bytes bytea NOT NULL,
        PRIMARY KEY (document, position)
      )`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE document_part');
    await runner.query('DROP TABLE document');
    await runner.query('DROP TABLE transfer');
    await runner.query('DROP TABLE account');
  }
}
