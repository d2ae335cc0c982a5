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

  @CreateDateColumn({ type: 'timestamptz' })
  opened!: Date;
}
