export function readS3TestSettings(): {dialect:string}|undefined { return undefined; }
export async function createS3Fixture(_s: unknown): Promise<any> {}
