package torture

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// clock is what the processes and the simulator take for the time: it may go faster than the real
// one. Each process has a file of its own, so that the clock of one can be wrong.
type clock struct {
	dir    string
	real   time.Time
	shown  time.Time
	factor float64
}

// set writes the clock of a process, wrong by an offset.
func (c *clock) set(process string, offset time.Duration) error {
	text := fmt.Sprintf("%d %d %g\n", c.real.UnixNano(), c.shown.Add(offset).UnixNano(), c.factor)
	path := c.file(process)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		return fmt.Errorf("set the clock of %s: %w", process, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("set the clock of %s: %w", process, err)
	}
	return nil
}

func (c *clock) file(process string) string { return filepath.Join(c.dir, "clock-"+process) }
