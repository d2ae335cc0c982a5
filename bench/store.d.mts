export declare function measureStore(options: { readonly quick: boolean }): Promise<void>;
