/** The offline analysis as a local provider of answers: whole at first, then with fewer and fewer findings. */
import { analyseOffline } from './answer.ts';
import type { OfflineAnalysis } from './answer.ts';

interface Question {
  readonly prompt: string;
  /** False: the summary alone is the answer. */
  readonly json: boolean;
}

export const offlineAnalyst = {
  model: 'offline-analyst',
  *answers({ prompt, json }: Question): Generator<string, void, undefined> {
    let analysis: OfflineAnalysis | undefined = analyseOffline(prompt);
    if (!json) {
      yield analysis.summary;
      return;
    }
    while (analysis !== undefined) {
      yield JSON.stringify(analysis);
      analysis = dropLast(analysis);
    }
  },
};

function dropLast(analysis: OfflineAnalysis): OfflineAnalysis | undefined {
  const { anomalies, recommendations } = analysis;
  if (anomalies.length + recommendations.length === 0) return undefined;
  return anomalies.length > recommendations.length
    ? { ...analysis, anomalies: anomalies.slice(0, -1) }
    : { ...analysis, recommendations: recommendations.slice(0, -1) };
}
