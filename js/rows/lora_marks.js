const FAVOURITES = 'StyleDelta.favouriteLoras'
const RECENT = 'StyleDelta.recentLoras'
const MOST_RECENT = 20

/** The names of the LoRAs that the user has marked, as this browser keeps them. */
export function favourites() {
  return read(FAVOURITES)
}

/** The names of the LoRAs that were chosen last, the newest first. */
export function recent() {
  return read(RECENT)
}

/** Mark a LoRA as a favourite, or take its mark away. Returns whether it has one now. */
export function toggleFavourite(name) {
  const names = favourites()
  const isMarked = !names.includes(name)
  write(FAVOURITES, isMarked ? [...names, name] : names.filter((each) => each !== name))
  return isMarked
}

/** Note that a LoRA was chosen. */
export function noteUse(name) {
  write(RECENT, [name, ...recent().filter((each) => each !== name)].slice(0, MOST_RECENT))
}

// Other tabs and other programs write there too, and some browsers refuse.
function read(key) {
  try {
    const names = JSON.parse(localStorage.getItem(key))
    return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : []
  } catch {
    return []
  }
}

function write(key, names) {
  try {
    localStorage.setItem(key, JSON.stringify(names))
  } catch {
    // Without room the marks are as they were.
  }
}
