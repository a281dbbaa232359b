/** The roles of those who use the web role, from the one that may do least to the one that may do most. */

export const roles = ['viewer', 'operator', 'admin'] as const;

/** viewer: reads all but payloads. operator: reads payloads, and acts on jobs. admin: also changes money, and decides
 * who may do so. */
export type Role = (typeof roles)[number];

export const isRole = (text: string): text is Role => roles.some((role) => role === text);

export const hasRole = (role: Role, needed: Role): boolean =>
  roles.indexOf(role) >= roles.indexOf(needed);
