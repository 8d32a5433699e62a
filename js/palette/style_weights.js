/** Weights of up to four styles and the point of the pad that stands for them. Points are [x, y] in 0..1, y downwards. */

export const MAX_STYLES = 4

const CORNERS = [
  [],
  [[0.5, 0.5]],
  [[0, 0.5], [1, 0.5]],
  [[0.5, 0], [0, 1], [1, 1]],
  [[0, 0], [1, 0], [0, 1], [1, 1]]
]

/** Where each of so many styles lies on the pad: on a line, a triangle or a square. */
export function cornersOf(count) {
  return CORNERS[count]
}

/** The weights at a point: shares of a line, barycentric in the triangle, bilinear in the square. Outside the nearest point counts. */
export function weightsAt(count, x, y) {
  if (count === 1) return [1]
  if (count === 3) return rounded(barycentric(x, y))
  const u = clamp(x)
  const v = clamp(y)
  return rounded(count === 2 ? [1 - u, u] : [(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v])
}

function barycentric(x, y) {
  const top = 1 - y
  const right = x - 0.5 * top
  const inside = [top, 1 - top - right, right]
  if (Math.min(...inside) >= 0) return inside
  const sides = [[0, 1], [1, 2], [2, 0]].map(([from, to]) => alongSide(x, y, from, to))
  return sides.reduce((best, side) => (side.gap < best.gap ? side : best)).weights
}

/** The weights of the point of a triangle's side that is nearest to a point, and how far that is. */
function alongSide(x, y, from, to) {
  const [[x1, y1], [x2, y2]] = [CORNERS[3][from], CORNERS[3][to]]
  const [dx, dy] = [x2 - x1, y2 - y1]
  const share = clamp(((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy))
  const weights = [0, 0, 0]
  weights[from] = 1 - share
  weights[to] = share
  return { weights, gap: Math.hypot(x1 + share * dx - x, y1 + share * dy - y) }
}

/** The point that stands for weights. Four weights have more freedom than a point: the nearest one then. */
export function pointOf(weights) {
  const parts = shares(weights)
  let x = 0
  let y = 0
  cornersOf(weights.length).forEach((corner, index) => {
    x += parts[index] * corner[0]
    y += parts[index] * corner[1]
  })
  return [clamp(x), clamp(y)]
}

/** Weights divided by their sum; equal ones where they add up to zero. */
export function shares(weights) {
  const total = weights.reduce((sum, weight) => sum + weight, 0)
  return weights.map((weight) => (Math.abs(total) < 1e-6 ? 1 / weights.length : weight / total))
}

/** Weights with one of them set to a share in 0..1: the others share the rest as they did. */
export function withWeight(weights, index, share) {
  if (weights.length === 1) return [1]
  const wanted = clamp(share)
  const others = shares(weights.filter((_, other) => other !== index))
  const rest = others.map((weight) => weight * (1 - wanted))
  rest.splice(index, 0, wanted)
  return rounded(rest, index)
}

/** Weights of sum 1 in hundredths of sum 1, by largest remainders. The one that was set is rounded by itself. */
function rounded(weights, fixed = -1) {
  const exact = weights.map((weight, index) => (index === fixed ? Math.round(weight * 100) : weight * 100))
  // What is a whole number but for the error of its last digits is one.
  const cents = exact.map((part) => Math.floor(part + 1e-9))
  const order = cents.map((_, index) => index).filter((index) => index !== fixed)
  order.sort((one, other) => exact[other] - cents[other] - (exact[one] - cents[one]))
  let rest = 100 - cents.reduce((sum, part) => sum + part, 0)
  for (let turn = 0; rest > 0; turn++, rest--) cents[order[turn % order.length]] += 1
  // Rounding up the one that was set may leave one too many.
  if (rest < 0) cents[order.reduce((most, index) => (cents[index] > cents[most] ? index : most))] += rest
  return cents.map((part) => part / 100)
}

function clamp(value) {
  return Math.min(Math.max(value, 0), 1)
}
