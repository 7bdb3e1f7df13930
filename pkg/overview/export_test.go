package overview

// Forecast is how a stream is judged, for a test.
var Forecast = (*Stream).forecast
