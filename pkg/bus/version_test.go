package bus

import (
	"errors"
	"testing"
)

func TestOldServersAreRefused(t *testing.T) {
	t.Parallel()
	for version, ok := range map[string]bool{
		"2.12.0": true, "2.15.2": true, "3.0.0": true, "2.12.0-RC.1": true,
		"2.11.9": false, "2.9.25": false, "1.4.1": false, "": false, "new": false,
	} {
		if err := supported(version); (err == nil) != ok || (err != nil && !errors.Is(err, ErrServerTooOld)) {
			t.Errorf("%q: %v", version, err)
		}
	}
}
