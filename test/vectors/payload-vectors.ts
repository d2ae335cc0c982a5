import { LIMITS } from '../../libs/core/src/limits.js';

/** Payloads that section 5.5 refuses, by what is wrong with them; values in hexadecimal. */
export function refusedPayloads(): Record<string, string> {
  const { cborDepth, numericKeys, payloadItems, keyText } = LIMITS;
  const longKey = `${head(3, keyText + 1)}${'61'.repeat(keyText + 1)}`;
  const numbers = Array.from({ length: numericKeys + 1 }, (_, i) => head(0, i));
  return {
    nothing: '',
    'two values': '0000',
    'a value that is cut': '8200',
    'an integer below 24 in a byte': '1817',
    'an integer below 256 in two bytes': '1900ff',
    'an integer below 2^16 in four bytes': '1a0000ffff',
    'an integer below 2^32 in eight bytes': '1b00000000ffffffff',
    'a negative integer in a longer form': '3800',
    'the integer 2^53': '1b0020000000000000',
    'the integer -2^53': '3b001fffffffffffff',
    'a length in a longer form': '780161',
    'a length of bytes in a longer form': '580100',
    'a length of an array in a longer form': '980100',
    'a length of an object in a longer form': 'b800',
    'a tag in a longer form': 'd80100',
    'a tag of a map in a longer form': 'da00000103a0',
    'an indefinite array': '9fff',
    'an indefinite object': 'bfff',
    'an indefinite text': '7f6161ff',
    'indefinite bytes': '5f4161ff',
    'a break': 'ff',
    'a reserved head': '1c',
    'the integer 1 as a float of 2 bytes': 'f93c00',
    'the integer 100000 as a float of 4 bytes': 'fa47c35000',
    'the integer 0 as a float of 8 bytes': 'fb0000000000000000',
    'the integer 2^53 - 1 as a float': 'fb433fffffffffffff',
    '1.5 in 4 bytes': 'fa3fc00000',
    '1.5 in 8 bytes': 'fb3ff8000000000000',
    '100000.5 in 8 bytes': 'fb40f86a0800000000',
    '-0 in 8 bytes': 'fb8000000000000000',
    'infinity in 4 bytes': 'fa7f800000',
    'a small number of half precision in 4 bytes': 'fa33800000',
    'another NaN of 2 bytes': 'f97e01',
    'a negative NaN': 'f9fe00',
    'a NaN of 4 bytes': 'fa7fc00000',
    'a NaN of 8 bytes': 'fb7ff8000000000000',
    'a simple value': 'e0',
    'false in two bytes': 'f814',
    'a bigint with a byte of 0 in front': 'c2420001',
    '0n with a byte': 'c24100',
    '-1n with a byte': 'c34100',
    'a bigint of an integer': 'c201',
    'a date of a text': 'c16130',
    'a date of a bigint': 'c1c24101',
    'a date of -0': 'c1f98000',
    'a date between two milliseconds': 'c1fb3f40624dd2f1a9fd',
    'a date beyond the range': 'c11b000007dba8218001',
    'a date of infinity': 'c1f97c00',
    'broken UTF-8': '62c328',
    'a surrogate in UTF-8': '63eda080',
    'overlong UTF-8': '62c080',
    'a property twice': 'a2616100616101',
    'a property whose name is a number': 'a10000',
    'a property __proto__': 'a1695f5f70726f746f5f5f00',
    'a property of a long name': `a1${longKey}00`,
    'a key twice': 'd90103a201000101',
    'a key NaN twice': 'd90103a2f97e0000f97e0001',
    'a bigint twice as key': 'd90103a2c2410100c2410101',
    'a key -0': 'd90103a1f9800000',
    'a key of a long text': `d90103a1${longKey}00`,
    'an item twice': 'd90102820101',
    'null twice in a set': 'd9010282f6f6',
    'an item -0': 'd9010281f98000',
    'an item of a long text': `d9010281${longKey}`,
    'too many numbers in a set': `d90102${head(4, numbers.length)}${numbers.join('')}`,
    'too many numbers as keys': `d90103${head(5, numbers.length)}${numbers.map((key) => `${key}00`).join('')}`,
    'too many texts of digits in a set': `d90102${head(4, numbers.length)}${numbers.map((_, i) => digits(i)).join('')}`,
    'a set of an object': 'd90102a0',
    'a map of an array': 'd9010380',
    'an unknown tag': 'c000',
    'a tag around nothing': 'c1',
    'one array too deep': `${'81'.repeat(cborDepth)}80`,
    'one date too deep': `${'81'.repeat(cborDepth)}c100`,
    'one set too deep': `${'81'.repeat(cborDepth - 1)}d9010280`,
    'one item too many': `${head(4, payloadItems)}${'00'.repeat(payloadItems)}`,
  };
}

function head(major: number, argument: number): string {
  const first = major << 5;
  if (argument < 24) return hex(first | argument);
  if (argument < 0x100) return hex(first | 24) + hex(argument);
  return argument < 0x1_0000 ? hex(first | 25) + hex(argument, 2) : hex(first | 26) + hex(argument, 4);
}

function hex(value: number, bytes = 1): string {
  return value.toString(16).padStart(2 * bytes, '0');
}

function digits(value: number): string {
  const text = String(value);
  return hex(0x60 + text.length) + Buffer.from(text).toString('hex');
}
