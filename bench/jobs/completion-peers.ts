/** Completed no-op jobs per second: Purser beside other Postgres queues, in the same run and alternating order. */
import { setTimeout as sleep } from 'node:timers/promises';
import { heartbeatMs, purser, row, warmUpJobs } from './completion.ts';
import type { Measure, Sample } from './completion.ts';
import { cpuMs, cpuPerJob, readCpu, treeCpuMs } from './cpu.ts';
import type { CpuReader } from './cpu.ts';
import { openFleetDatabase, startFleet } from './fleet.ts';
import type { Setting } from './fleet.ts';
import { peerBatch, peers, pgBossWorkers } from './peer-worker.ts';
import { openPeer } from './peers.ts';
import type { PeerFleet } from './peers.ts';
import { median } from './report.ts';
import type { Section } from './report.ts';

/** Fewer than beside BullMQ: the slowest of the peers needs several seconds for them. */
const jobsPerSample = 10_000;

export async function measurePeers(setting: Setting): Promise<Section> {
  const database = await openFleetDatabase(setting, 'completion_peers_purser');
  const fleet = await startFleet(setting, database, 'redis');
  const postgres = () => treeCpuMs(setting.servers.postgresPid);
  const opened = await Promise.all(peers.map((peer) => openPeer(setting, peer)));
  try {
    const sides = new Map<string, Measure>([
      [
        'Purser',
        purser(setting, database, {
          worker: () => cpuMs(fleet.workerPid),
          scheduler: () => cpuMs(fleet.schedulerPid),
          postgres,
        }),
      ],
      ...opened.map((peer, index): [string, Measure] => [
        peers[index] ?? '',
        drained(peer, { worker: () => cpuMs(peer.workerPid), postgres }),
      ]),
    ]);
    const samples = new Map<string, Sample[]>([...sides.keys()].map((name) => [name, []]));
    await sides.get('Purser')?.(warmUpJobs);
    await sleep(heartbeatMs);
    for (const measure of sides.values()) await measure(warmUpJobs * 4);
    for (let round = 0; round < setting.rounds; round += 1) {
      const order = round % 2 === 0 ? [...sides] : [...sides].toReversed();
      for (const [name, measure] of order) {
        samples.get(name)?.push(await measure(jobsPerSample));
      }
    }
    const speed = (name: string) =>
      median((samples.get(name) ?? []).map(({ perSecond }) => perSecond));
    const windows = [
      `${setting.concurrency} + ${setting.begunAhead} ahead`,
      `${setting.concurrency}`,
      `${setting.concurrency} + ${peerBatch} in memory`,
      `${pgBossWorkers} batches of ${peerBatch}`,
    ];
    return {
      name: 'completion-peers',
      title: 'no-op jobs completed per second, beside other Postgres queues',
      rows: [...sides.keys()].map((name, index) =>
        row(
          name,
          windows[index] ?? '',
          samples.get(name) ?? [],
          speed('Purser') / speed(name),
          'Purser x',
        ),
      ),
      notes: [
        `${jobsPerSample} jobs a sample, ${setting.rounds} samples each, alternating order; medians. Purser's queues in Redis.`,
        'graphile-worker deletes completed jobs; neither peer has tenants, budgets or threads for handlers.',
        'batched: a local queue of 500 and ends of one turn in one statement. pg-boss: batches, fetched without a pause.',
        'A job of a peer counts when its row is gone or completed, asked every 20 ms from the start of its worker.',
      ],
    };
  } finally {
    await Promise.all(opened.map((peer) => peer.stop()));
    await fleet.stop();
    await database.close();
  }
}

const drained =
  (peer: PeerFleet, readers: CpuReader): Measure =>
  async (jobs) => {
    await peer.enqueue(jobs);
    const before = readCpu(readers);
    const seconds = await peer.drain();
    // While its sessions are open: what ended ones took is not known.
    const cpu = cpuPerJob(readers, before, jobs);
    await peer.halt();
    return { perSecond: jobs / seconds, cpu };
  };
