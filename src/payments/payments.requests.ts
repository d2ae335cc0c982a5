import { IsString, IsUUID, Length, MaxLength } from 'class-validator';
import { IsCents } from './cents.js';

export class OpenRequest {
  @IsString()
  @Length(1, 100)
  owner!: string;

  @IsCents()
  deposit!: bigint;
}

export class AccountRequest {
  @IsUUID()
  account!: string;
}

export class DocumentRequest {
  @IsUUID()
  document!: string;
}

export class TransferRequest {
  @IsUUID()
  from!: string;

  @IsUUID()
  to!: string;

  @IsCents()
  amount!: bigint;

  @IsString()
  @MaxLength(140)
  note!: string;
}
