import { Controller, Post, Res, type Type, UseInterceptors, VERSION_NEUTRAL } from '@nestjs/common';
import { EncryptionInterceptor } from './encryption.interceptor.js';

/** The one route, below the configured path. The global prefix of the application applies to it, versions do not. */
export function remoteController(path: string): Type<unknown> {
  @Controller({ path, version: VERSION_NEUTRAL })
  class RemoteController {
    /** Never reached: the interceptor answers. Taking the response tells Nest that it is written elsewhere. */
    @Post(':module')
    @UseInterceptors(EncryptionInterceptor)
    call(@Res() _response: unknown): void {}
  }
  return RemoteController;
}
