import { BODY, PART_ORDER, PARTS } from './pose_skeleton.js'

// Points in 0..1 lie closer than this, and no pose fits into so few pixels. As in delta/pose/reading.py.
const LARGEST_NORMALISED = 2
const DECIMALS = 100

/**
 * The frames of OpenPose JSON in pixels that can be edited here, or null for text that is something else.
 *
 * Each is the object itself, with keys that are not known, and `people` in which every part that is there is a flat list.
 */
export function framesOf(text) {
  try {
    const data = JSON.parse(text)
    const frames = Array.isArray(data) ? data : [data]
    return frames.length && frames.every(isFrame) ? frames : null
  } catch {
    return null
  }
}

/** The JSON of frames: an object for one. */
export function textOf(frames) {
  return JSON.stringify(frames.length === 1 ? frames[0] : frames)
}

function isFrame(frame) {
  const isSize = (side) => Number.isInteger(side) && side > 0
  if (!isSize(frame?.canvas_width) || !isSize(frame.canvas_height) || !Array.isArray(frame.people)) return false
  return frame.people.every(isPerson) && !isNormalised(frame)
}

function isPerson(person) {
  if (typeof person !== 'object' || person === null || Array.isArray(person)) return false
  return PART_ORDER.every((key) => isPart(key, person[key]))
}

function isPart(key, numbers) {
  if (numbers === null || numbers === undefined) return true
  const isFlat = Array.isArray(numbers) && numbers.length % 3 === 0 && numbers.every((number) => Number.isFinite(number))
  return isFlat && (numbers.length === 0 || PARTS[key].knows(numbers.length / 3))
}

function isNormalised(frame) {
  const sides = frame.people.flatMap((person) =>
    PART_ORDER.flatMap((key) => pointsOf(person, key).filter((point) => point.isSeen).map(({ x, y }) => Math.max(Math.abs(x), Math.abs(y))))
  )
  sides.sort((one, other) => one - other)
  return sides.length > 0 && sides[Math.floor(sides.length / 2)] <= LARGEST_NORMALISED
}

/** How many points a part of a person has. */
export function countOf(person, key) {
  return (person[key]?.length ?? 0) / 3
}

/** The points of a part: {index, x, y, isSeen, isPlaced}. One that is hidden keeps its place, one at 0, 0 has none. */
export function pointsOf(person, key) {
  return Array.from({ length: countOf(person, key) }, (_, index) => {
    const [x, y, confidence] = person[key].slice(3 * index, 3 * index + 3)
    const isPlaced = x !== 0 || y !== 0
    return { index, x, y, isPlaced, isSeen: confidence > 0 && isPlaced }
  })
}

/** Move points, [[key, index], ...], by so many pixels. */
export function movePoints(person, points, dx, dy) {
  for (const [key, index] of points) {
    const { x, y, isPlaced } = pointsOf(person, key)[index]
    if (isPlaced) placePoint(person, key, index, x + dx, y + dy)
  }
}

/** Put a point to a place, never quite to 0, 0, which stands for none. */
export function placePoint(person, key, index, x, y) {
  const [round, least] = [(value) => Math.round(value * DECIMALS) / DECIMALS, 1 / DECIMALS]
  const place = [round(x), round(y)]
  person[key].splice(3 * index, 2, place[0] || (place[1] ? 0 : least), place[1])
}

/** Show or hide points that have a place. Hidden ones have the confidence 0. */
export function showPoints(person, points, isShown) {
  for (const [key, index] of points) {
    if (pointsOf(person, key)[index].isPlaced) person[key][3 * index + 2] = isShown ? 1 : 0
  }
}

/** A standing person, in the middle of a canvas. */
export function standingPerson(width, height) {
  const joints = [
    [0, -254], [0, -184], [-60, -180], [-80, -82], [-88, 8], [60, -180], [82, -84], [90, 8], [-34, 14], [-40, 154],
    [-46, 292], [34, 14], [40, 154], [48, 292], [-16, -270], [16, -270], [-40, -258], [40, -258]
  ]
  const scale = Math.min(width / 512, height / 768)
  const numbers = joints.flatMap(([x, y]) => [Math.round(width / 2 + x * scale), Math.round(height / 2 + y * scale), 1])
  return { [BODY]: numbers }
}
