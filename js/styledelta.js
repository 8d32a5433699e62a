import { app } from '../../scripts/app.js'
import { reportPanel } from './report_panel.js'
import { stylePalettes } from './style_palette.js'

app.registerExtension({
  name: 'StyleDelta',
  getCustomWidgets: () => ({ ...stylePalettes }),
  ...reportPanel
})
