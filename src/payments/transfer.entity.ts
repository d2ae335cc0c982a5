import { Column, CreateDateColumn, Entity, PrimaryGeneratedColumn } from 'typeorm';
import { centsColumn } from './cents.js';

@Entity('transfer')
export class Transfer {
  @PrimaryGeneratedColumn('uuid')
  id!: string;

  /** none for the first deposit */
  @Column('uuid', { nullable: true })
  from!: string | null;

  /** its number in the statement of that account */
  @Column('integer', { nullable: true })
  fromEntry!: number | null;

  @Column('uuid')
  to!: string;

  @Column('integer')
  toEntry!: number;

  @Column('bigint', { transformer: centsColumn })
  amount!: bigint;

  @Column('text')
  note!: string;

  @CreateDateColumn({ type: 'timestamptz' })
  booked!: Date;
}
