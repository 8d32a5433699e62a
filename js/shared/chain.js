/** Call then(...parameters) after a callback of a node or widget, which keeps its own work and result. */
export function chain(object, name, then) {
  const previous = object[name]
  object[name] = function (...parameters) {
    const result = previous?.apply(this, parameters)
    then(...parameters)
    return result
  }
}
