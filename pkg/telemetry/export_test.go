package telemetry

// NewTextLogger makes the logger of a terminal.
var NewTextLogger = newTextLogger
