import { app } from '../../scripts/app.js'
import { stylePalettes } from './style_palette.js'

app.registerExtension({
  name: 'StyleDelta',
  getCustomWidgets: () => ({ ...stylePalettes })
})
