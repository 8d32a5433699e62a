"""One description of a chart, drawn as a picture or sent to the panel."""
