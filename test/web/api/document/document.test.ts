/** The OpenAPI document: valid, current, complete, and served. */
import { Validator } from '@seriousme/openapi-schema-validator';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openapiJson } from '../../../../scripts/openapi.ts';
import { endpoints } from '../../../../src/web/api/endpoints/endpoints.ts';
import { startFixture } from '../../web-fixture.ts';
import type { WebFixture } from '../../web-fixture.ts';
import { askWith, program } from '../api-fixture.ts';
import type { Json } from '../api-fixture.ts';

let fixture: WebFixture;
beforeAll(async () => {
  fixture = await startFixture();
});
afterAll(() => fixture.close());

const document = (): Json => JSON.parse(openapiJson());

it('is a valid document of OpenAPI 3.1, which a broken one is not', async () => {
  const validate = async (given: Json) => (await new Validator().validate(given)).valid;
  const validator = new Validator();
  expect(await validator.validate(document())).toMatchObject({ valid: true });
  expect(validator.version).toBe('3.1');
  expect(await validate({ ...document(), info: {} })).toBe(false);
  const broken = document();
  broken.paths['/jobs'].post.parameters[0].in = 'nowhere';
  expect(await validate(broken)).toBe(false);
});

it('docs/openapi.json is current (else: npm run docs)', () => {
  const path = join(import.meta.dirname, '../../../../docs/openapi.json');
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual(document());
});

it('is served to the role viewer, limited tokens included, and to nobody else', async () => {
  const viewer = await program(fixture, 'viewer', { tenants: [fixture.tenantId] });
  const served = await viewer('/openapi.json');
  expect(served.headers.get('content-type')).toBe('application/json');
  expect(served.json).toEqual(document());
  expect((await askWith(fixture, {})('/openapi.json')).status).toBe(401);
});

it('has an id, a summary, a role and the refusals of every endpoint, and a body schema of every write', () => {
  const operations = Object.values<Json>(document().paths).flatMap((path) =>
    Object.entries<Json>(path),
  );
  expect(operations).toHaveLength(endpoints.length);
  expect(endpoints.length).toBeGreaterThan(30);
  const ids = operations.map(([, { operationId }]) => operationId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const [method, operation] of operations) {
    expect(operation.summary.length).toBeGreaterThan(10);
    expect(['viewer', 'operator', 'admin']).toContain(operation['x-role']);
    expect(['own', 'refused']).toContain(operation['x-limited-tokens']);
    expect(operation.responses['401'].content).toHaveProperty(['application/problem+json']);
    const { schema } = operation.requestBody?.content['application/json'] ?? {};
    const names = (operation.parameters ?? []).map(({ name }: Json) => name);
    expect([operation.operationId, operation['x-role'] === 'viewer']).toEqual([
      operation.operationId,
      method === 'get',
    ]);
    expect([method, schema?.additionalProperties]).toEqual([
      method,
      method === 'get' ? undefined : false,
    ]);
    expect([method, names.includes('Idempotency-Key')]).toEqual([method, method !== 'get']);
  }
});

it('asks for a key where a repetition would act again: jobs and money', () => {
  const needKeys = endpoints.filter(({ key }) => key === 'required');
  expect(needKeys.map(({ operationId }) => operationId)).toEqual([
    'enqueueJob',
    'setBudget',
    'topUpBudget',
    'resolveCall',
    'runSchedule',
  ]);
});
