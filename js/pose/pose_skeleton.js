/** The parts of a person in OpenPose's JSON: how many points they have, what is joined to what, and what hangs on what. */

/** Nose, neck, right shoulder, elbow, wrist, the left ones, right hip, knee, ankle, the left ones, eyes, ears (right first). */
const LIMBS = [
  [1, 2], [1, 5], [2, 3], [3, 4], [5, 6], [6, 7], [1, 8], [8, 9], [9, 10], [1, 11], [11, 12], [12, 13],
  [1, 0], [0, 14], [14, 16], [0, 15], [15, 17]
]
/** Of the joints, and in the same order of the limbs. */
const COLOURS = Array.from({ length: 18 }, (_, index) => `hsl(${index * 20} 100% 50%)`)
/** From the wrist along the four bones of each finger, thumb first. */
const BONES = Array.from({ length: 20 }, (_, index) => [index % 4 ? index : 0, index + 1])
const BONE_COLOURS = BONES.map((_, index) => `hsl(${index * 18} 100% 50%)`)

export const BODY = 'pose_keypoints_2d'
export const FACE = 'face_keypoints_2d'
export const LEFT = 'hand_left_keypoints_2d'
export const RIGHT = 'hand_right_keypoints_2d'
export const FEET = 'foot_keypoints_2d'

const plain = (colour, radius) => ({ lines: [], lineColours: [], colourOf: () => colour, radius })
const hand = { lines: BONES, lineColours: BONE_COLOURS, colourOf: () => '#00f', radius: 0.55 }

/** By key: whether a number of points is known, lines and colours, and the radius of a point, of which a joint has 1. */
export const PARTS = {
  [FACE]: { ...plain('#fff', 0.35), knows: (count) => count <= 70 },
  [FEET]: { ...plain('#fa0', 0.7), knows: (count) => count === 6 },
  [LEFT]: { ...hand, knows: (count) => count === 21 },
  [RIGHT]: { ...hand, knows: (count) => count === 21 },
  [BODY]: { lines: LIMBS, lineColours: COLOURS, colourOf: (index) => COLOURS[index], radius: 1, knows: (count) => count === 18 }
}
export const PART_ORDER = [BODY, FACE, LEFT, RIGHT, FEET]

/** What comes after each joint on its way from the neck, as [key, number]; a part alone stands for all of its points. */
const NEXT = {
  0: [[BODY, 14], [BODY, 15], [FACE]],
  2: [[BODY, 3]], 3: [[BODY, 4]], 4: [[RIGHT]],
  5: [[BODY, 6]], 6: [[BODY, 7]], 7: [[LEFT]],
  8: [[BODY, 9]], 9: [[BODY, 10]], 10: [[FEET, 3], [FEET, 4], [FEET, 5]],
  11: [[BODY, 12]], 12: [[BODY, 13]], 13: [[FEET, 0], [FEET, 1], [FEET, 2]],
  14: [[BODY, 16]], 15: [[BODY, 17]],
  1: [[BODY, 0], [BODY, 2], [BODY, 5], [BODY, 8], [BODY, 11]]
}
/** With these joints a hand or the face goes in any case. */
const CARRIERS = { 0: FACE, 4: RIGHT, 7: LEFT }

/** A point and all that hangs on it, as [key, number]. countOf(key): how many points a part has. */
export function limbOf(key, index, countOf) {
  if (key === LEFT || key === RIGHT) return fingerOf(key, index)
  const found = [[key, index]]
  for (const [nextKey, next] of key === BODY ? (NEXT[index] ?? []) : []) {
    if (next === undefined) found.push(...wholePart(nextKey, countOf))
    else found.push(...limbOf(nextKey, next, countOf))
  }
  return found.filter(([each, place]) => place < countOf(each))
}

/** A point and what goes with it in any drag. */
export function carriedBy(key, index, countOf) {
  const carried = key === BODY ? CARRIERS[index] : undefined
  return [[key, index], ...(carried ? wholePart(carried, countOf) : [])]
}

function wholePart(key, countOf) {
  return Array.from({ length: countOf(key) }, (_, index) => [key, index])
}

/** The rest of the finger from a knuckle outwards; the wrist is the whole hand. */
function fingerOf(key, index) {
  if (index === 0) return wholePart(key, () => 21)
  const tip = Math.ceil(index / 4) * 4
  return Array.from({ length: tip - index + 1 }, (_, step) => [key, index + step])
}
