/** Small charts as SVG, without scripts or style attributes; each has its figures as text. */
import type { Child } from 'hono/jsx';

export interface ChartProps {
  readonly title: string;
  /** One for each bucket of time, oldest first. */
  readonly values: readonly number[];
  /** Of a bucket, for the figures: e.g. `06:00`. */
  readonly labelOf: (index: number) => string;
  readonly textOf: (value: number) => string;
  /** The figure of now. */
  readonly current: Child;
  readonly tone?: 'busy' | 'bad' | 'warn';
}

const width = 480;
const height = 96;
const gap = 2;

interface BarsProps {
  readonly values: readonly number[];
  readonly tone?: 'busy' | 'bad' | 'warn' | undefined;
  readonly width: number;
  readonly height: number;
}

/** A value above zero has at least one unit of height, so that it is seen. */
function Bars({ values, tone = 'busy', width, height }: BarsProps) {
  const most = Math.max(0, ...values);
  const step = width / Math.max(1, values.length);
  return (
    <>
      {values.map((value, index) => {
        if (value <= 0) return null;
        const tall = Math.max(1, (value / most) * height);
        const attributes = {
          x: (index * step).toFixed(1),
          y: (height - tall).toFixed(1),
          width: Math.max(1, step - gap).toFixed(1),
          height: tall.toFixed(1),
        };
        return <rect class={`bar ${tone}`} {...attributes} />;
      })}
    </>
  );
}

/** A figure, its bars, and all values in a table that opens. */
export function Chart({ title, values, labelOf, textOf, current, tone }: ChartProps) {
  const most = Math.max(0, ...values);
  return (
    <figure class="chart">
      <figcaption>
        {title} <strong>{current}</strong>
      </figcaption>
      <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
        <line class="base" x1="0" y1={height} x2={width} y2={height} />
        <Bars values={values} tone={tone} width={width} height={height} />
      </svg>
      <div class="axis quiet">
        <span>{labelOf(0)}</span>
        <span>most {textOf(most)}</span>
        <span>{labelOf(values.length - 1)}</span>
      </div>
      <details>
        <summary>Figures: {title}</summary>
        <table>
          <thead>
            <tr>
              <th scope="col">From (UTC)</th>
              <th scope="col" class="number">
                {title}
              </th>
            </tr>
          </thead>
          <tbody>
            {values.map((value, index) => (
              <tr>
                <th scope="row">{labelOf(index)}</th>
                <td class="number">{textOf(value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </figure>
  );
}

export interface TrendProps {
  readonly values: readonly number[];
  /** What the bars are, as a sentence: it stands for them where they are not seen. */
  readonly text: string;
  readonly tone?: 'busy' | 'bad' | 'warn';
}

/** Bars in a cell of a table. */
export function Trend({ values, text, tone = 'bad' }: TrendProps) {
  return (
    <svg class="trend" viewBox="0 0 120 24" preserveAspectRatio="none" role="img" aria-label={text}>
      <line class="base" x1="0" y1="24" x2="120" y2="24" />
      <Bars values={values} tone={tone} width={120} height={24} />
    </svg>
  );
}
