import { svg } from '../shared/dom.js'

export const FONT = 10
const CHARACTER = 6
// The share of a logarithmic axis that stays free at each end.
const PADDING = 0.04

/** A number in three significant digits, as in the plots. */
export function short(value) {
  if (value === 0) return '0'
  const power = Math.floor(Math.log10(Math.abs(value)) + 1e-9)
  if (power < -3 || power > 5) return value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e')
  return Number(value.toPrecision(3)).toLocaleString('en')
}

/** The width of a text in pixels, well enough to leave room for it. Chinese characters are as wide as they are high. */
export function textWidth(text) {
  let width = 0
  for (const character of text) width += character < '\u2e80' ? CHARACTER : FONT
  return width
}

/** The text, or its end behind dots where it is wider than the room: the ends of layers' names tell them apart. */
export function fitted(text, room) {
  if (textWidth(text) <= room) return text
  let end = text
  while (end.length > 1 && textWidth(`…${end}`) > room) end = end.slice(1)
  return `…${end}`
}

/** Round numbers at even steps of 1, 2 or 5 that enclose low..high in at most `most` steps. */
export function roundNumbers(low, high, most) {
  const power = 10 ** Math.floor(Math.log10((high - low) / most))
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((s) => Math.ceil(high / s - 1e-9) - Math.floor(low / s + 1e-9) <= most) ?? 20 * power
  const numbers = []
  for (let i = Math.floor(low / step + 1e-9); i <= Math.ceil(high / step - 1e-9); i++) numbers.push(i * step)
  return numbers
}

/** An axis {ticks, place(value) in pixels} with room for the values; it begins at 0 where that does not waste half of it. */
export function linearAxis(values, start, end, most) {
  let low = Math.min(...values)
  let high = Math.max(...values)
  if (low >= 0 && low <= high / 2) low = 0
  if (low === high) {
    low -= (Math.abs(low) || 1) / 2
    high += (Math.abs(high) || 1) / 2
  }
  const ticks = roundNumbers(low, high, most)
  return evenAxis(ticks, ticks[0], ticks.at(-1), start, end)
}

/** An axis of whole numbers from 1, with half a step free at each end. */
export function countAxis(count, start, end, most) {
  const ticks = roundNumbers(0, count, most).filter((tick) => Number.isInteger(tick) && tick > 1 && tick <= count)
  return evenAxis([1, ...ticks], 0.5, count + 0.5, start, end)
}

/** A logarithmic axis of values above 0. */
export function logAxis(values, start, end, most) {
  const low = Math.min(...values)
  const high = Math.max(...values)
  const [first, last] = low < high ? [Math.log10(low), Math.log10(high)] : [Math.log10(low) - 0.2, Math.log10(low) + 0.2]
  const free = PADDING * (last - first)
  const place = (value) => start + ((Math.log10(value) - first + free) / (last - first + 2 * free)) * (end - start)
  return { ticks: logTicks(first - free, last + free, most), place }
}

/** Powers of ten, with twos and fives or evenly spread numbers where few powers lie on the axis. */
function logTicks(first, last, most) {
  const every = Math.ceil((last - first) / most)
  const ticks = []
  const steps = last - first < 2.5 ? [1, 2, 5] : [1]
  for (let power = Math.floor(first); power <= last; power++) {
    if (power % every === 0) ticks.push(...steps.map((step) => step * 10 ** power))
  }
  const inside = (tick) => Math.log10(tick) >= first && Math.log10(tick) <= last
  const shown = ticks.filter(inside)
  return shown.length > 1 ? shown : roundNumbers(10 ** first, 10 ** last, most).filter((tick) => tick > 0 && inside(tick))
}

function evenAxis(ticks, low, high, start, end) {
  return { ticks, place: (value) => start + ((value - low) / (high - low)) * (end - start) }
}

/** Vertical grid lines with numbers beneath, and the axis' name. */
export function drawXAxis(axis, label, left, right, top, bottom) {
  const group = svg('g')
  for (const tick of axis.ticks) {
    const x = axis.place(tick)
    group.append(line('grid', x, top, x, bottom), text(short(tick), x, bottom + FONT + 3, 'middle'))
  }
  group.append(text(label, (left + right) / 2, bottom + 2 * FONT + 7, 'middle'))
  return group
}

/** Horizontal grid lines with numbers on their left. */
export function drawYAxis(axis, left, right) {
  const group = svg('g')
  for (const tick of axis.ticks) {
    const y = axis.place(tick)
    group.append(line('grid', left, y, right, y), text(short(tick), left - 4, y + 3, 'end'))
  }
  return group
}

/** A straight line of a class. */
export function line(name, x1, y1, x2, y2) {
  return svg('line', { class: name, x1, y1, x2, y2 })
}

/** A text that begins, is centred or ends at x, on the baseline y. */
export function text(content, x, y, anchor, name = '') {
  return svg('text', { class: name, x, y, 'text-anchor': anchor }, content)
}
