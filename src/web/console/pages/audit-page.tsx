/** The record of operators' acts, newest first, page by page. */
import type { ActRow } from '../../../operations/audit.ts';
import type { Access } from '../../web-env.ts';
import { Page, Time } from '../layout.tsx';

export interface AuditFilter {
  readonly operator?: string | undefined;
  readonly act?: string | undefined;
  readonly tenant?: string | undefined;
  readonly job?: string | undefined;
}

export interface AuditPageProps {
  readonly access: Access;
  readonly filter: AuditFilter;
  readonly acts: readonly ActRow[];
  /** The cursor of the next page. */
  readonly olderThan?: string | undefined;
  readonly fault?: string | undefined;
}

const fields = [
  ['operator', 'Operator'],
  ['act', 'Act'],
  ['tenant', 'Tenant'],
  ['job', 'Job id'],
] as const;

function Filter({ filter }: { readonly filter: AuditFilter }) {
  return (
    <form class="filter" method="get" action="/audit" role="search">
      {fields.map(([name, label]) => (
        <label>
          {label}
          <input name={name} value={filter[name] ?? ''} />
        </label>
      ))}
      <button type="submit">Show</button>
    </form>
  );
}

const isEmpty = (value: unknown): boolean =>
  value === null || value === undefined || JSON.stringify(value) === '{}';

function Json({ label, value }: { readonly label: string; readonly value: unknown }) {
  if (isEmpty(value)) return null;
  return (
    <div>
      <span class="quiet">{label}</span> <code>{JSON.stringify(value)}</code>
    </div>
  );
}

function Act({ act }: { readonly act: ActRow }) {
  const { tenantId, jobType, jobIds = [] } = act;
  return (
    <tr>
      <td>
        <Time at={act.at} />
      </td>
      <td>
        {act.name}
        <div class="quiet">
          {act.proof}, {act.door}
          {isEmpty(act.host) ? '' : `, ${act.host}`}
        </div>
      </td>
      <td>{act.act}</td>
      <td>
        {isEmpty(tenantId) ? null : <div>tenant {tenantId}</div>}
        {isEmpty(jobType) ? null : <div>type {jobType}</div>}
        {jobIds.length === 0 ? null : (
          <div>
            {jobIds.length === 1 ? 'job' : `${jobIds.length} jobs:`} {jobIds.slice(0, 5).join(', ')}
            {jobIds.length > 5 ? ', ...' : ''}
          </div>
        )}
        <Json label="" value={act.target} />
      </td>
      <td class="number">{act.affected}</td>
      <td>
        {act.reason}
        <Json label="before" value={act.before} />
        <Json label="after" value={act.after} />
      </td>
    </tr>
  );
}

export function AuditPage({ access, filter, acts, olderThan, fault }: AuditPageProps) {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined && value !== '');
  const older = new URLSearchParams({ ...Object.fromEntries(given), before: olderThan ?? '' });
  return (
    <Page title="Audit" access={access} path="/audit">
      <Filter filter={filter} />
      {fault === undefined ? null : (
        <p class="notice bad" role="alert">
          {fault}
        </p>
      )}
      <div class="scrolls" tabindex={0} role="region" aria-label="Acts">
        <table>
          <caption>What operators did, newest first. Times are UTC.</caption>
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">Operator</th>
              <th scope="col">Act</th>
              <th scope="col">On</th>
              <th scope="col" class="number">
                Rows
              </th>
              <th scope="col">Reason and change</th>
            </tr>
          </thead>
          <tbody>
            {acts.map((act) => (
              <Act act={act} />
            ))}
          </tbody>
        </table>
      </div>
      {acts.length === 0 ? <p>No act is on record{given.length > 0 ? ' for this' : ''}.</p> : null}
      {olderThan === undefined ? null : (
        <p>
          <a href={`/audit?${older.toString()}`}>Older acts</a>
        </p>
      )}
    </Page>
  );
}
