import { Column, Entity, PrimaryColumn } from 'typeorm';

@Entity('document')
export class Document {
  @PrimaryColumn('uuid')
  id!: string;

  @Column('uuid')
  account!: string;

  @Column('text')
  name!: string;

  @Column('text')
  type!: string;

  /** bytes */
  @Column('bigint', { transformer: { to: (size?: number) => size, from: Number } })
  size!: number;
}

@Entity('document_part')
export class DocumentPart {
  @PrimaryColumn('uuid')
  document!: string;

  /** of its first byte in the document */
  @PrimaryColumn('bigint', { transformer: { to: (position?: number) => position, from: Number } })
  position!: number;

  @Column('bytea')
  bytes!: Buffer;
}
