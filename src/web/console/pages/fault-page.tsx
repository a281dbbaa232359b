/** The page of an error, for a browser that asked for a page. */
import type { Access } from '../../web-env.ts';
import { Page } from '../layout.tsx';

export interface FaultPageProps {
  readonly access?: Access | undefined;
  readonly title: string;
  readonly message: string;
}

export function FaultPage({ access, title, message }: FaultPageProps) {
  return (
    <Page title={title} access={access}>
      <p class="notice bad">{message}</p>
    </Page>
  );
}
