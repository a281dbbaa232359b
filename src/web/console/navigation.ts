/** The pages of the console, in the order of its navigation. `/` leads to the first. */
import type { Role } from '../../operations/operators/roles.ts';

export interface NavigationEntry {
  readonly path: string;
  readonly title: string;
  /** The lowest role that may see it. */
  readonly role: Role;
}

export const navigation: readonly [NavigationEntry, ...NavigationEntry[]] = [
  { path: '/now', title: 'Now', role: 'viewer' },
  { path: '/jobs', title: 'Jobs', role: 'viewer' },
  { path: '/failures', title: 'Failures', role: 'viewer' },
  { path: '/dead-letters', title: 'Dead letters', role: 'viewer' },
  { path: '/batches', title: 'Batches', role: 'viewer' },
  { path: '/tenants', title: 'Tenants', role: 'viewer' },
  { path: '/money', title: 'Money', role: 'viewer' },
  { path: '/budgets', title: 'Budgets', role: 'viewer' },
  { path: '/schedules', title: 'Schedules', role: 'viewer' },
  { path: '/workers', title: 'Workers', role: 'viewer' },
  { path: '/pauses', title: 'Pauses', role: 'viewer' },
  { path: '/audit', title: 'Audit', role: 'viewer' },
  { path: '/access', title: 'Access', role: 'admin' },
  { path: '/queues', title: 'Queues (transport)', role: 'viewer' },
];
