/**
 * The Prometheus page of the whole fleet. Each live process keeps its own series (labels `role` and
 * `process`): a sum would fall when a process ends, and Prometheus reads a falling counter as a restart.
 */
import { AggregatorRegistry, Gauge, Registry } from 'prom-client';
import { z } from 'zod';
import type { Metrics } from '../metrics.ts';
import { readFleet } from './fleet-metrics.ts';
import type { FleetOptions } from './fleet-metrics.ts';
import { shared } from './time-limit.ts';

export interface MetricsPageOptions extends FleetOptions {
  readonly metrics: Metrics;
  readonly version: string;
  readonly processId: string;
}

/** prom-client's JSON form; another version of Purser may have written it. */
const metricJson = z.object({
  name: z.string().regex(/^[a-zA-Z_:][a-zA-Z0-9_:]*$/),
  help: z.string(),
  type: z.enum(['counter', 'gauge', 'histogram', 'summary']),
  values: z.array(
    z.object({
      value: z.number(),
      metricName: z.string().optional(),
      labels: z.record(z.string(), z.union([z.string(), z.number()])),
    }),
  ),
});
type MetricJson = z.infer<typeof metricJson> & { aggregator: 'sum' };

const fleetKeptMs = 2_000;

/** Adds labels to the metrics of one process; leaves out invalid ones and those named in `without`. */
function labelled(
  metrics: readonly object[],
  labels: { role?: string; process?: string },
  without: ReadonlySet<string>,
): MetricJson[] {
  return metrics.flatMap((candidate) => {
    const { success, data } = metricJson.safeParse(candidate);
    if (!success || without.has(data.name)) return [];
    return [
      {
        ...data,
        aggregator: 'sum' as const,
        values: data.values.map((value) => ({ ...value, labels: { ...value.labels, ...labels } })),
      },
    ];
  });
}

/** Returns a function that renders the page, and its content type. */
export function createMetricsPage(
  options: MetricsPageOptions,
): () => Promise<{ text: string; contentType: string }> {
  const fleet = shared(fleetKeptMs, () => readFleet(options));
  const build = new Registry();
  new Gauge({
    name: 'build_info',
    help: 'The release of Purser that serves this page',
    labelNames: ['version'] as const,
    registers: [build],
  }).set({ version: options.version }, 1);

  return async () => {
    const { registry, beats } = await fleet();
    const ofFleet = await registry.getMetricsAsJSON();
    // Metrics of the fleet come from the stores only, also where a process registers the same name.
    const fleetNames = new Set(ofFleet.map(({ name }) => name));
    const own = await options.metrics.registry.getMetricsAsJSON();
    const merged = AggregatorRegistry.aggregate([
      labelled(ofFleet, {}, new Set()),
      labelled(await build.getMetricsAsJSON(), {}, new Set()),
      labelled(own, { role: 'web', process: options.processId }, fleetNames),
      ...beats
        .filter(({ processId }) => processId !== options.processId)
        .map(({ role, processId, metrics }) =>
          labelled(metrics, { role, process: processId }, fleetNames),
        ),
    ]);
    return { text: await merged.metrics(), contentType: merged.contentType };
  };
}
