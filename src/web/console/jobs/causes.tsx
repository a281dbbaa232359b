/** Why jobs do not run: the cause to lift first first, each with the command that lifts it. */
import type { Cause } from '../../../operations/why/cause.ts';

export function Causes({ causes }: { readonly causes: readonly Cause[] }) {
  return (
    <ol class="causes">
      {causes.map(({ code, says, lift }) => (
        <li>
          <strong>{code.replaceAll('_', ' ')}</strong>: {says}
          {lift === null ? null : (
            <div class="quiet">
              To lift it: <code>{lift}</code>
            </div>
          )}
        </li>
      ))}
    </ol>
  );
}
