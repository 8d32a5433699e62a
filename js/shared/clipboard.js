/** Whether a text could be copied: browsers hand out the clipboard to https and localhost only. */
export async function copyText(content) {
  try {
    await navigator.clipboard.writeText(content)
    return true
  } catch {
    return false
  }
}
