package embedded

import (
	"fmt"
	"strings"
	"sync"
)

// complaints keeps the first thing that a server warns of, and the first repair that it announces.
type complaints struct {
	mu            sync.Mutex
	first, repair string
}

// repairs reports whether a server says that it makes the summary of a stream anew from its blocks,
// which are ahead of it: the store was not shut down.
func repairs(said string) bool {
	return strings.Contains(said, "Stream state outdated") || strings.HasSuffix(said, "from index errored: prior state file")
}

func (c *complaints) keep(format string, v []any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	said := strings.TrimSpace(fmt.Sprintf(format, v...))
	kept := &c.first
	if repairs(said) {
		kept = &c.repair
	}
	if *kept == "" {
		*kept = said
	}
}

// err is errUnclean if all that the server says is that it repairs.
func (c *complaints) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.first != "":
		return fmt.Errorf("%w: %s", errNotSealed, c.first)
	case c.repair != "":
		return fmt.Errorf("%w: %s", errUnclean, c.repair)
	}
	return nil
}

func (c *complaints) Noticef(string, ...any)         {}
func (c *complaints) Warnf(format string, v ...any)  { c.keep(format, v) }
func (c *complaints) Fatalf(format string, v ...any) { c.keep(format, v) }
func (c *complaints) Errorf(format string, v ...any) { c.keep(format, v) }
func (c *complaints) Debugf(string, ...any)          {}
func (c *complaints) Tracef(string, ...any)          {}
