import { Column, Entity, PrimaryGeneratedColumn } from 'typeorm';

@Entity('payment')
export class Payment {
  @PrimaryGeneratedColumn() id!: number;
  @Column('text') who!: string;
  @Column('integer') amount!: number;
}
