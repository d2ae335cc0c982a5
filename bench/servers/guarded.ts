import {
  Body,
  type CanActivate,
  Controller,
  type ExecutionContext,
  HttpCode,
  Injectable,
  Post,
  SetMetadata,
  UseGuards,
  UsePipes,
  ValidationPipe,
} from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { RemoteFunction, RemoteFunctions } from '@sealwire/nest';
import { Type } from 'class-transformer';
import { IsArray, IsBoolean, IsInt, IsString, ValidateNested } from 'class-validator';

class Row {
  @IsString() id!: string;
  @IsInt() amount!: number;
  @IsString() currency!: string;
  @IsString() note!: string;
  @IsBoolean() paid!: boolean;
}

class BookingsRequest {
  @IsArray()
  @ValidateNested({ each: true })
  @Type(() => Row)
  rows!: Row[];
}

/** Reads what the handler demands, as a guard for roles does. */
@Injectable()
class RoleGuard implements CanActivate {
  constructor(private readonly reflector: Reflector) {}

  canActivate(context: ExecutionContext): boolean {
    const role = this.reflector.getAllAndOverride<string>('role', [context.getHandler(), context.getClass()]);
    return role === 'anyone' && context.switchToHttp().getRequest() !== undefined;
  }
}

@RemoteFunctions('bench')
@Controller('json')
@UseGuards(RoleGuard)
@UsePipes(new ValidationPipe({ transform: true, whitelist: true }))
@SetMetadata('role', 'anyone')
export class GuardedController {
  @RemoteFunction()
  echo(value: BookingsRequest): BookingsRequest {
    return value;
  }

  @Post('echo')
  @HttpCode(200)
  echoJson(@Body() value: BookingsRequest): BookingsRequest {
    return this.echo(value);
  }
}
