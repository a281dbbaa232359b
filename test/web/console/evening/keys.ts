/** Ways of a keyboard through a page. */
import type { Page } from 'playwright-core';

interface Focus {
  readonly name: string;
  readonly text: string;
  /** It is in the window, and something around it shows that it has the focus. */
  readonly isVisible: boolean;
}

const mostPresses = 120;

/** Presses Tab until the element of this name, or with this text, has the focus, which every element on the way shows. */
export async function pressUntil(page: Page, wanted: string): Promise<void> {
  for (let presses = 0; presses < mostPresses; presses += 1) {
    await page.keyboard.press('Tab');
    const { name, text, isVisible } = await focusOf(page);
    if (!isVisible) throw new Error(`nobody sees that ${name || text} has the focus`);
    if (name === wanted || text === wanted) return;
  }
  throw new Error(`${wanted} is not reached by ${mostPresses} presses of Tab`);
}

/** As a text: the types of a browser are not those of Node. */
const focusOf = (page: Page): Promise<Focus> =>
  page.evaluate<Focus>(`(() => {
    const { activeElement: element } = document;
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    const { top, bottom, left, right } = element.getBoundingClientRect();
    return {
      name: element.getAttribute('name') ?? '',
      text: element.textContent.trim(),
      isVisible: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 && bottom > 0 && right > 0
        && top < innerHeight && left < innerWidth,
    };
  })()`);
