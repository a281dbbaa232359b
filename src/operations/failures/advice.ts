/** What to do about a dead letter, by its code, its end and its standing, as sentences that name commands. Pure. */
import type { JobRecord } from '../../jobs/inspect.ts';
import type { EndedBy } from '../../jobs/search/filter.ts';

interface Described {
  readonly job: JobRecord;
  readonly standing: 'listed' | 'replayed' | 'discarded';
  readonly endedBy: EndedBy | null;
  readonly fingerprint: string | null;
  readonly alike: number;
}

type Advice = (job: JobRecord) => string;

/** The first that fits the code. */
const byCode: readonly (readonly [RegExp, Advice])[] = [
  [
    /^budget_exceeded$/,
    ({ tenantId }) =>
      `The tenant's budget did not allow the call: purser budget show --tenant ${tenantId}, then raise or top it up.`,
  ],
  [
    /^(http_401|http_403|llm_auth|llm_forbidden)$/,
    () => 'The other side refused the credentials or the right to this call: mend them first.',
  ],
  [
    /^(http_404|http_410|host_not_found|ENOTFOUND)$/,
    () => 'What the job asked for is not there: check the address and the payload.',
  ],
  [
    /^(http_429|http_5\d\d|llm_(overloaded|rate_limited|provider_error|gateway_error))$/,
    () => 'The other side was overloaded or failed: replay when it answers again.',
  ],
  [
    /^(connection_\w+|host_unreachable|response_timeout|E(CONN\w+|TIMEDOUT|AI_AGAIN|HOSTUNREACH))$/,
    () => 'The other side could not be reached: replay when it can.',
  ],
  [
    /^invalid_payload$/,
    ({ jobId }) => `The payload does not fit the schema of its handler: purser jobs show ${jobId}.`,
  ],
  [
    /^(job_timeout|executor_killed)$/,
    () =>
      'It did not end within its timeout: raise timeoutMs of the handler, or give it less to do.',
  ],
  [
    /^(worker_lost|out_of_memory)$/,
    () => 'It ended its process or filled its memory: mend the handler, or give it less to do.',
  ],
  [
    /^expired$/,
    ({ jobType }) =>
      `It waited longer than giveUpAfter: check that a worker runs ${jobType}, and purser pauses and purser limits list.`,
  ],
  [
    /^(not_an_error|unreadable_error)$/,
    () =>
      'The handler threw something that is no error; throw an Error, so that the next failure says more.',
  ],
];

const byEnd: Readonly<Record<EndedBy, string>> = {
  fatal: 'It would fail again as it is: mend the cause before you replay it.',
  exhausted: 'Its attempts are used up; a replay begins with all of them.',
  expired: 'It waited too long; a replay waits anew.',
};

export function adviceOn({ job, standing, endedBy, fingerprint, alike }: Described): string[] {
  if (standing === 'replayed') {
    return [
      `It was replayed by job ${job.replayedBy ?? ''}: purser jobs show ${job.replayedBy ?? ''}`,
    ];
  }
  if (standing === 'discarded') return ['It was discarded, and is not listed any more.'];
  const known = byCode.find(([code]) => code.test(job.errorCode ?? ''))?.[1];
  return [
    ...(known === undefined ? [] : [known(job)]),
    ...(endedBy === null ? [] : [byEnd[endedBy]]),
    `Run it again: purser dlq replay ${job.jobId}`,
    `Or take it off the list: purser dlq discard ${job.jobId} --reason TEXT`,
    ...(alike > 1 && fingerprint !== null
      ? [
          `All with the same cause: purser dlq list --fingerprint ${fingerprint}`,
          `What replaying all of them would do: purser dlq preview --act replay --fingerprint ${fingerprint}`,
        ]
      : []),
  ];
}
