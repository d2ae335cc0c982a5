import { Column, CreateDateColumn, Entity, PrimaryGeneratedColumn } from 'typeorm';
import { centsColumn } from './cents.js';

@Entity('transfer')
export class Transfer {
  @PrimaryGeneratedColumn('uuid')
  id!: string;

  /** none for the first deposit */
  @Column('uuid', { nullable: true })
  from!: string | null;

  @Column('uuid')
  to!: string;

  @Column('bigint', { transformer: centsColumn })
  amount!: bigint;

  @Column('text')
  note!: string;

  @CreateDateColumn({ type: 'timestamptz' })
  booked!: Date;
}
