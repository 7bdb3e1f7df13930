package heartbeat

// Forget is forget, for tests.
var Forget = forget
