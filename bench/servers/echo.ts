import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { RemoteFunction, RemoteFunctions } from '@sealwire/nest';

@RemoteFunctions('bench')
@Controller('json')
export class EchoController {
  @RemoteFunction()
  echo(value: unknown): unknown {
    return value;
  }

  @Post('echo')
  @HttpCode(200)
  echoJson(@Body() value: unknown): unknown {
    return this.echo(value);
  }
}
