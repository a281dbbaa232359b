/**
 * Refuses secrets that can be guessed: a salt that is not random, keys and passwords of few characters or common
 * words, and one value for two secrets. Applies to staging and production.
 */

interface WeakSecret {
  readonly name: string;
  readonly fault: string;
}

type Variables = Readonly<Partial<Record<string, string>>>;

const minPasswordLength = 12;

/** Words of common and of example passwords, in the form that `lettersOf` returns. */
const commonWords = (
  'password passphrase passwd pass secret changeme change letmein welcome admin operator user ' +
  'root login dashboard purser postgres redis master encryption encrypt salt key token ' +
  'default example test demo dummy production staging development qwertyuiop qwerty asdfghjkl ' +
  'asdf abcdefgh abcdef'
).split(' ');

/** All weak secrets among the variables. Faults never contain a value. */
export function weakSecrets(variables: Variables): WeakSecret[] {
  const { KDF_SALT: salt, ENCRYPTION_KEY: key, DASHBOARD_PASSWORD: password } = variables;
  const found: WeakSecret[] = [];
  const refuse = (name: string, fault: string | undefined): void => {
    if (fault !== undefined) found.push({ name, fault });
  };
  if (salt !== undefined) refuse('KDF_SALT', saltFault(salt));
  if (key !== undefined) {
    refuse('ENCRYPTION_KEY', key === salt ? 'is the same as KDF_SALT' : textFault(key));
  }
  if (password !== undefined) {
    refuse('DASHBOARD_PASSWORD', passwordFault(password, variables));
  }
  return found;
}

/** 32 random bytes have 30 different values on average, and fewer than 20 in one of 7 billion salts. */
function saltFault(salt: string): string | undefined {
  const bytes = [...Buffer.from(salt, 'base64')];
  const steps = bytes.map((byte, index) => (byte - (bytes[index - 1] ?? 0) + 256) % 256);
  const random =
    new Set(bytes).size >= 20 &&
    new Set(steps.slice(1)).size > 2 &&
    bytes.some((byte) => byte < 0x20 || byte > 0x7e);
  return random ? undefined : 'is not random';
}

function passwordFault(password: string, variables: Variables): string | undefined {
  if (password === variables['ENCRYPTION_KEY']) return 'is the same as ENCRYPTION_KEY';
  if (password === variables['KDF_SALT']) return 'is the same as KDF_SALT';
  if (password.length < minPasswordLength) {
    return `must have ${minPasswordLength} characters or more in staging and production`;
  }
  return textFault(password, variables['DASHBOARD_USER']);
}

function textFault(text: string, user = ''): string | undefined {
  if (/^\d+$/.test(text)) return 'consists of digits only';
  if (new Set(text).size < 7) return 'has too few different characters';
  let rest = lettersOf(text);
  const words = user.length < 4 ? commonWords : [lettersOf(user), ...commonWords];
  for (const word of words) rest = rest.replaceAll(word, ' ');
  const letters = rest.replaceAll(/[^\p{L}]/gu, '');
  return letters.length < 4 ? 'consists of common words' : undefined;
}

/** In lower case; digits and signs that are used in place of letters become those letters. */
function lettersOf(text: string): string {
  const letters: Readonly<Record<string, string>> = {
    '0': 'o',
    '1': 'l',
    '3': 'e',
    '4': 'a',
    '5': 's',
    '@': 'a',
    $: 's',
  };
  const replaced = text
    .toLowerCase()
    .replaceAll(/(?<=\p{L})[01345@$](?=\p{L})/gu, (sign) => letters[sign] ?? sign);
  return replaced;
}
