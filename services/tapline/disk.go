package tapline

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tapline/tapline/pkg/alarm"
	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/bus/embedded"
	"github.com/tapline/tapline/pkg/program"
)

const (
	diskEvery = 30 * time.Second
	// diskReserve is how much of a file system is no room: below it other programs on the host
	// fail, too.
	diskReserve = 1 << 30
)

// disk watches the file system of the streams. An external NATS server does not report how large
// its disk is, so only the process that runs the server can.
type disk struct {
	dir     string
	streams interface {
		Usage(ctx context.Context, stream string) (bus.Usage, error)
	}
	healthy func(ctx context.Context) error // whether the server can write
	free    func(dir string) (uint64, error)
	alarms  *alarm.Board
	log     *slog.Logger
}

// watchDisk looks at the disk until the function that it returns is called. At the start it warns
// when the streams may take more than there is.
func watchDisk(ctx context.Context, d *disk, tenant string, state *bus.Bucket, rt program.Runtime) (stop func()) {
	d.alarms, d.log, d.free = alarm.New(state, tenant, name, rt.Log, alarm.Gauge(rt.Metrics)), rt.Log, embedded.Free
	ctx, cancel := context.WithCancel(ctx)
	d.atStart(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		ticker := time.NewTicker(diskEvery)
		defer ticker.Stop()
		for ctx.Err() == nil {
			d.look(ctx)
			select {
			case <-ctx.Done():
			case <-ticker.C:
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// room is what is free, and what RAW and EVENTS may still take.
func (d *disk) room(ctx context.Context) (free, wanted uint64, err error) {
	if free, err = d.free(d.dir); err != nil {
		return 0, 0, err
	}
	for _, stream := range []string{bus.StreamRaw, bus.StreamEvents} {
		u, err := d.streams.Usage(ctx, stream)
		if err != nil {
			return 0, 0, fmt.Errorf("look at the disk: %w", err)
		}
		if limit := uint64(max(u.MaxBytes, 0)); limit > u.Bytes {
			wanted += limit - u.Bytes
		}
	}
	return free, wanted, nil
}

func (d *disk) atStart(ctx context.Context) {
	if free, wanted, err := d.room(ctx); err == nil && free < wanted {
		d.log.Warn("the disk has less space than the streams may take", slog.String("detail", d.detail(free, wanted)))
	}
}

// look raises the alarm when the streams may grow and the disk has hardly any room left, or when
// the server says that it cannot write. That streams could outgrow the disk some day is only a
// warning at the start.
func (d *disk) look(ctx context.Context) {
	free, wanted, err := d.room(ctx)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.log.Warn("the disk cannot be looked at", slog.Any("error", err))
	default:
		d.alarms.Set(ctx, alarm.Disk, free < min(wanted, diskReserve), d.detail(free, wanted))
	}
	if err := d.healthy(ctx); err != nil {
		d.alarms.HoldCause(ctx, alarm.Disk, "server", "streams cannot be written: make room and restart: "+err.Error(), 3*diskEvery)
	} else {
		d.alarms.ClearCause(ctx, alarm.Disk, "server")
	}
}

func (d *disk) detail(free, wanted uint64) string {
	return fmt.Sprintf("%s has %d MiB free, and RAW and EVENTS may take another %d MiB: free space, or lower STREAM_RAW_MAX_BYTES and STREAM_EVENTS_MAX_BYTES",
		d.dir, free>>20, wanted>>20)
}
