package tapline

// Limit is for tests.
func Limit(live uint64) int64 { return limit(live) }

// Thrifty is for tests.
func Thrifty(environ []string) (stop func()) { return thrifty(environ) }

// QuietLooks is for tests.
const QuietLooks = quietLooks

// Keeper is for tests.
type Keeper = keeper

// Quiet is for tests.
func (k *keeper) Quiet(cycles uint64) bool { return k.quiet(cycles) }

// Gave is for tests.
func (k *keeper) Gave(before, after uint64) { k.gave(before, after) }
