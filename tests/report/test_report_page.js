// What the tests ask a page in the browser.
const probes = {
  /** What is wider than the window, or shows only a part of what it holds. */
  stickingOut: () =>
    [...document.querySelectorAll("body *")]
      .filter((each) => {
        const isCut = each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).overflowX !== "visible";
        return each.checkVisibility() && (isCut || each.getBoundingClientRect().right > innerWidth + 1);
      })
      .map((each) => `${each.tagName} ${each.className} ${each.textContent.slice(0, 40)}`),

  /** Contrast (WCAG 2) of every element that has text of its own, with what it is. */
  contrasts: () => {
    const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
    const linear = (value) => (value <= 10.31 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const light = ([red, green, blue]) => 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
    const behind = (each) => {
      const found = channels(getComputedStyle(each).backgroundColor);
      return (found[3] ?? 1) > 0 ? found : behind(each.parentElement);
    };
    return [...document.querySelectorAll("body *")]
      .filter((each) => each.checkVisibility() && [...each.childNodes].some((child) => child.nodeType === 3 && child.data.trim()))
      .map((each) => {
        const [dark, bright] = [light(channels(getComputedStyle(each).color)), light(behind(each))].sort((a, b) => a - b);
        return [(bright + 0.05) / (dark + 0.05), `${each.tagName} ${each.className}`];
      });
  },

  /** What has the focus, and how broad its outline is. */
  focused: () => {
    const each = document.activeElement;
    const { outlineStyle, outlineWidth } = getComputedStyle(each);
    return {
      tag: each.tagName,
      kind: each.className,
      text: each.textContent,
      table: each.querySelector("table")?.ariaLabel,
      head: each.closest("thead") && each.closest("table").ariaLabel,
      outline: outlineStyle === "none" ? 0 : parseFloat(outlineWidth),
    };
  },

  table: (title) => document.querySelector(`table[aria-label="${title}"]`),
  head: (title, name) => [...probes.table(title).tHead.rows[0].cells].find((head) => head.textContent === name),

  /** The cells of a column, from above; of each the first line. */
  column: (title, name) => {
    const at = probes.head(title, name).cellIndex;
    return [...probes.table(title).tBodies[0].rows].map((row) => row.cells[at].textContent.split("\n")[0]);
  },

  /** Presses a header; by what order it then says that the table is sorted. */
  press: (title, name) => {
    probes.head(title, name).querySelector("button").click();
    return probes.head(title, name).ariaSort;
  },

  /** Presses the button below a table; what went to the clipboard, null where that is refused. */
  copy: async (title, label, isRefused) => {
    let copied = null;
    navigator.clipboard.writeText = async (text) => {
      if (isRefused) throw new Error("not allowed");
      copied = text;
    };
    const buttons = probes.table(title).parentElement.nextElementSibling.querySelectorAll("button");
    [...buttons].find((each) => each.textContent === label).click();
    await new Promise((done) => setTimeout(done));
    return copied;
  },
};
