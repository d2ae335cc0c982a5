import { Controller, Inject, Post, Req, Res, type Type, VERSION_NEUTRAL } from '@nestjs/common';
import { EncryptionService, type PlatformRequest } from './encryption.service.js';

/** The one route, below the configured path. The global prefix of the application applies to it, versions do not. */
export function remoteController(path: string): Type<unknown> {
  @Controller({ path, version: VERSION_NEUTRAL })
  class RemoteController {
    constructor(@Inject(EncryptionService) private readonly encryption: EncryptionService) {}

    /** Taking the response tells Nest that it is written elsewhere. */
    @Post(':module')
    call(@Req() request: PlatformRequest, @Res() response: unknown): Promise<void> {
      return this.encryption.handle(request, response);
    }
  }
  return RemoteController;
}
