/** Lengths of time, and how long ago something was. */
import { lengthText } from '../../../operations/why/cause.ts';
import { Time } from '../layout.tsx';

export function Length({ ms }: { readonly ms: number }) {
  return <span class="length">{lengthText(ms)}</span>;
}

/** With the point in time. */
export function Ago({ at, now }: { readonly at: Date; readonly now: Date }) {
  const ms = now.getTime() - at.getTime();
  return (
    <>
      <Time at={at} />{' '}
      <span class="quiet">{ms < 0 ? `in ${lengthText(-ms)}` : `${lengthText(ms)} ago`}</span>
    </>
  );
}
