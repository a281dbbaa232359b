/** Who may use the web role, for administrators: operators, open sessions with a way to end them, and tokens. */
import type { NamedOperator } from '../../../operations/operators/operators.ts';
import type { ListedSession } from '../../../operations/operators/sessions.ts';
import type { ListedToken } from '../../../operations/operators/tokens.ts';
import type { Access } from '../../web-env.ts';
import { CsrfField, Page, Time } from '../layout.tsx';

export interface AccessPageProps {
  readonly access: Access;
  readonly operators: readonly NamedOperator[];
  readonly sessions: readonly ListedSession[];
  /** There are more than are shown. */
  readonly isCut: boolean;
  readonly tokens: readonly ListedToken[];
}

interface ActionProps {
  readonly access: Access;
  readonly action: string;
  readonly field: string;
  readonly value: string;
  readonly label: string;
  /** For those who hear the button without its row. */
  readonly of: string;
  readonly question: string;
}

function Action({ access, action, field, value, label, of, question }: ActionProps) {
  return (
    <form method="post" action={action} data-confirm={question}>
      <CsrfField access={access} />
      <input type="hidden" name={field} value={value} />
      <button type="submit" class="danger" aria-label={`${label} ${of}`}>
        {label}
      </button>
    </form>
  );
}

function Operators({ operators }: { readonly operators: readonly NamedOperator[] }) {
  return (
    <div class="scrolls" tabindex={0} role="region" aria-label="Operators">
      <table>
        <caption>
          Named operators, beside the login of the environment. Command: purser operators
          add|set-role|set-password|remove
        </caption>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Role</th>
            <th scope="col" class="number">
              Open sessions
            </th>
            <th scope="col">Last seen</th>
            <th scope="col">Added</th>
          </tr>
        </thead>
        <tbody>
          {operators.map(({ name, role, openSessions, seenAt, createdAt }) => (
            <tr>
              <th scope="row">{name}</th>
              <td>{role}</td>
              <td class="number">{openSessions}</td>
              <td>{seenAt === null ? '' : <Time at={seenAt} />}</td>
              <td>
                <Time at={createdAt} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Sessions({ access, sessions }: Pick<AccessPageProps, 'access' | 'sessions'>) {
  return (
    <div class="scrolls" tabindex={0} role="region" aria-label="Sessions">
      <table>
        <caption>Open sessions, the one seen last first. Times are UTC.</caption>
        <thead>
          <tr>
            <th scope="col">Operator</th>
            <th scope="col">Role</th>
            <th scope="col">Address</th>
            <th scope="col">Browser</th>
            <th scope="col">Login</th>
            <th scope="col">Last seen</th>
            <th scope="col">Ends</th>
            <th scope="col">
              <span class="quiet">Action</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {sessions.map((session) => (
            <tr>
              <td>
                {session.operator}
                {session.id === access.sessionId ? ' (this browser)' : ''}
              </td>
              <td>{session.role}</td>
              <td>{session.address}</td>
              <td>{session.browser}</td>
              <td>
                <Time at={session.startedAt} />
              </td>
              <td>
                <Time at={session.seenAt} />
              </td>
              <td>
                <Time at={session.expiresAt} />
              </td>
              <td>
                <Action
                  access={access}
                  action="/access/end-session"
                  field="id"
                  value={session.id}
                  label="End"
                  of={`the session of ${session.operator} from ${session.address}`}
                  question={`End this session of ${session.operator}?`}
                />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const limitsOf = ({ tenants, jobTypes }: ListedToken): string =>
  [
    ...(tenants.length > 0 ? [`tenants ${tenants.join(', ')}`] : []),
    ...(jobTypes.length > 0 ? [`types ${jobTypes.join(', ')}`] : []),
  ].join('; ') || 'none';

function Tokens({ access, tokens }: Pick<AccessPageProps, 'access' | 'tokens'>) {
  return (
    <div class="scrolls" tabindex={0} role="region" aria-label="Tokens">
      <table>
        <caption>Tokens of programs. Command: purser tokens add|remove</caption>
        <thead>
          <tr>
            <th scope="col">Name</th>
            <th scope="col">Role</th>
            <th scope="col">Limits</th>
            <th scope="col">Last used</th>
            <th scope="col">Expires</th>
            <th scope="col">
              <span class="quiet">Action</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {tokens.map((token) => (
            <tr>
              <th scope="row">{token.name}</th>
              <td>{token.role}</td>
              <td>{limitsOf(token)}</td>
              <td>{token.lastUsedAt === null ? 'never' : <Time at={token.lastUsedAt} />}</td>
              <td>
                <Time at={token.expiresAt} />
              </td>
              <td>
                <Action
                  access={access}
                  action="/access/remove-token"
                  field="name"
                  value={token.name}
                  label="Remove"
                  of={`the token ${token.name}`}
                  question={`Remove the token ${token.name}? Its programs are refused at once.`}
                />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function AccessPage({ access, operators, sessions, isCut, tokens }: AccessPageProps) {
  return (
    <Page title="Access" access={access} path="/access">
      <h2>Operators</h2>
      <Operators operators={operators} />
      <h2>Sessions</h2>
      <Sessions access={access} sessions={sessions} />
      {isCut ? <p>Older sessions are not shown; see: purser operators sessions</p> : null}
      <h2>Tokens</h2>
      <Tokens access={access} tokens={tokens} />
    </Page>
  );
}
