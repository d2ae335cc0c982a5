import fc from 'fast-check';

// without it a stated maximum means ten elements at most
fc.configureGlobal({ defaultSizeToMaxWhenMaxSpecified: true });
