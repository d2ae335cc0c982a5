import type { MigrationInterface, QueryRunner } from 'typeorm';

export class CreatePayments1760000000000 implements MigrationInterface {
  readonly name = 'CreatePayments1760000000000';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      CREATE TABLE account (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        owner text NOT NULL,
        balance bigint NOT NULL CHECK (balance >= 0),
        opened timestamptz NOT NULL DEFAULT now()
      )`);
    await runner.query(`
      CREATE TABLE transfer (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
        "from" uuid REFERENCES account,
        "to" uuid NOT NULL REFERENCES account,
        amount bigint NOT NULL CHECK (amount > 0),
        note text NOT NULL,
        booked timestamptz NOT NULL DEFAULT now(),
        CHECK ("from" <> "to")
      )`);
    await runner.query('CREATE INDEX transfer_from ON transfer ("from", booked)');
    await runner.query('CREATE INDEX transfer_to ON transfer ("to", booked)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE transfer');
    await runner.query('DROP TABLE account');
  }
}
