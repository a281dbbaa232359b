/**
 * What identifies the bill of a row: provider, billing account, billing period. Another spelling of them must not make
 * a delivery of its own, which would count the bill twice; `purser.source_key` (sql/0007_costs.sql) compares deliveries.
 */
import { spreadsheetFault } from '../../spreadsheet-ids.ts';
import { notATimestamp, readText, readTimestamp, shown } from './values.ts';
import type { Reading } from './values.ts';

const maxKeyBytes = 800;

/**
 * Text that identifies the source of a row, without blanks at its ends and invisible characters, in NFC. It is part of
 * an index entry, so its length is limited.
 */
export function readKey(text: string): Reading {
  const key = text
    .normalize('NFC')
    .replaceAll(/\p{Default_Ignorable_Code_Point}/gu, '')
    .replaceAll(/\s+/g, ' ')
    .trim();
  if (key === '') return { reason: `${shown(text)} holds only blanks; every row needs a value` };
  if (Buffer.byteLength(key) <= maxKeyBytes) return readText(key);
  return { reason: `${shown(text)} is longer than ${maxKeyBytes} bytes` };
}

/** The id of an account as part of the source's name. */
export function readAccountKey(text: string): Reading {
  const reason = spreadsheetFault(text);
  return reason === undefined ? readKey(text) : { reason };
}

/** As AWS writes its name in exports of several versions; purser.source_key has the same. */
const awsNames =
  /^(?:aws|amazon|amazon aws|amazon\.com|amazon web services(?:,? inc\.?| \(aws\))?)$/i;
const awsDigits = 12;

/**
 * The account's id as its provider writes it in exports: the console of AWS shows 12 digits in groups, and a
 * spreadsheet removes zeros at the beginning, so that the id is that of no account.
 */
export function accountOf(provider: string, account: string): Reading {
  if (!awsNames.test(provider)) return { value: account };
  const digits = account.replaceAll(/[- ]/g, '');
  if (!/^\d+$/.test(digits)) {
    // A sample without real ids has words or masked digits.
    if (digits.replaceAll(/\D/g, '').length < awsDigits) return { value: account };
    return {
      reason:
        `${shown(account)} has other characters than digits, and an AWS account id has none: the row would be in a ` +
        'bill of its own; write the digits only',
    };
  }
  if (digits.length >= awsDigits) return { value: digits };
  return {
    reason:
      `${shown(account)} has ${digits.length} digits, and an AWS account id has ${awsDigits}: most likely a ` +
      'spreadsheet removed the zeros at its beginning; use the file as it was downloaded, or format the column as ' +
      'text before it is opened',
  };
}

const hourMs = 3_600_000;
/** Offsets of time zones are not larger. */
const largestOffsetMs = 14 * hourMs;
/** ISO texts of later years have a sign, which Postgres does not read. */
const lastYear = 9999;
const dayLength = '2026-01-01'.length;

/**
 * The first day of a billing period, `YYYY-MM-DD`. Midnight of another time zone, however it is written, is the start
 * of the same month.
 */
export function readPeriodStart(text: string): Reading {
  const read = readTimestamp(text);
  if (!('value' in read)) return read;
  const at = Date.parse(read.value);
  const near = new Date(at + largestOffsetMs);
  const monthStart = Date.UTC(near.getUTCFullYear(), near.getUTCMonth());
  const start = Math.abs(at - monthStart) <= largestOffsetMs ? monthStart : at;
  if (new Date(start).getUTCFullYear() > lastYear) return { reason: notATimestamp(text) };
  return { value: new Date(start).toISOString().slice(0, dayLength) };
}

/** The large clouds bill calendar months; others may begin their periods on another day. */
const monthly = /^(?:aws|amazon|microsoft|azure|ms azure|google|gcp|oracle|oci)\b/i;

/** Why a billing period cannot be one of this provider: it would make a delivery beside that of the month. */
export function periodFault(provider: string, start: string): string | undefined {
  if (start.endsWith('-01') || !monthly.test(provider)) return undefined;
  return (
    `${shown(start)} is not the start of a month, as the start of a billing period of this provider is; write it ` +
    'like 2024-09-01T00:00:00Z'
  );
}
