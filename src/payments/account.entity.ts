import { Column, CreateDateColumn, Entity, PrimaryGeneratedColumn } from 'typeorm';
import { centsColumn } from './cents.js';

@Entity('account')
export class Account {
  @PrimaryGeneratedColumn('uuid')
  id!: string;

  @Column('text')
  owner!: string;

  @Column('bigint', { transformer: centsColumn })
  balance!: bigint;

  /** lines of its statement so far; each transfer takes the next number under the lock of this row */
  @Column('integer', { default: 0 })
  entries!: number;

  @CreateDateColumn({ type: 'timestamptz' })
  opened!: Date;
}
