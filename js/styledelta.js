import { app } from '../../scripts/app.js'
import { reportPanel } from './report_panel.js'

app.registerExtension({ name: 'StyleDelta', ...reportPanel })
