const WORD_START = /[\s/\\_.-]/

/**
 * How well a file name answers a search.
 *
 * Each word of the query must occur, its letters in order; together, at the beginning of words and in the file's own name is
 * better. Returns null where a word does not occur, else {score, positions}: the places of the letters, for marking them.
 */
export function fuzzyMatch(query, name) {
  const text = name.toLowerCase()
  const base = Math.max(name.lastIndexOf('/'), name.lastIndexOf('\\')) + 1
  const found = { score: 0, positions: [] }
  for (const word of query.toLowerCase().split(/\s+/).filter(Boolean)) {
    const best = bestPlace(word, text, base)
    if (!best) return null
    found.score += best.score
    found.positions.push(...best.positions)
  }
  return found
}

/** The names that answer a search, best first, as [{name, positions}]; all of them in their order for an empty one. */
export function fuzzySearch(query, names) {
  const found = []
  for (const name of names) {
    const match = fuzzyMatch(query, name)
    if (match) found.push({ name, ...match })
  }
  // Sorting is stable: equals stay in the order of the files.
  return query.trim() ? found.sort((a, b) => b.score - a.score || a.name.length - b.name.length) : found
}

function bestPlace(word, text, base) {
  let best = null
  for (let start = text.indexOf(word[0]); start >= 0; start = text.indexOf(word[0], start + 1)) {
    const place = placeFrom(start, word, text, base)
    if (!place) break
    if (!best || place.score > best.score) best = place
  }
  return best
}

function placeFrom(start, word, text, base) {
  const positions = []
  let score = 0
  let at = start
  for (const letter of word) {
    const next = text.indexOf(letter, at)
    if (next < 0) return null
    const follows = positions.length > 0 && next === at
    const opens = next === 0 || WORD_START.test(text[next - 1])
    score += (follows ? 6 : 0) + (opens ? 4 : 0) + (next >= base ? 2 : 0) - (positions.length ? Math.min(next - at, 5) : 0)
    positions.push(next)
    at = next + 1
  }
  return { score, positions }
}
