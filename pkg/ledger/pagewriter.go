package ledger

import (
	"context"
	"fmt"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tapline/tapline/pkg/bus"
	"github.com/tapline/tapline/pkg/step"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
)

const (
	writeTimeout = 15 * time.Second
	maxKept      = 64 // pages remembered between writes
)

// pageWriter writes pages, with a group commit: updates of one page that arrive during a write go
// together into the next. It is safe for concurrent use.
type pageWriter struct {
	store store

	mu    sync.Mutex
	pages map[string]*pendingPage
}

// pendingPage is one page and the updates that wait for it.
type pendingPage struct {
	waiting []*update // guarded by the page writer's mutex, as is busy
	busy    bool

	// For the goroutine that writes.
	page *taplinev1.LedgerPage // nil when it has to be read
	rev  uint64
}

type update struct {
	apply func(*taplinev1.LedgerPage)
	done  chan error
}

// write applies a change to a page and returns when it is durable. The change
// may be applied more than once, each time to a page that does not have it.
func (p *pageWriter) write(ctx context.Context, key string, apply func(*taplinev1.LedgerPage)) error {
	n := &update{apply, make(chan error, 1)}
	p.mu.Lock()
	d := p.pages[key]
	if d == nil {
		p.evict()
		d = &pendingPage{}
		p.pages[key] = d
	}
	d.waiting = append(d.waiting, n)
	lead := !d.busy
	d.busy = true
	p.mu.Unlock()
	if lead {
		go p.flush(context.WithoutCancel(ctx), key, d)
	}
	select {
	case err := <-n.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("ledger: %w", ctx.Err())
	}
}

// evict removes a page that is not busy when too many are remembered.
func (p *pageWriter) evict() {
	for key, d := range p.pages {
		if len(p.pages) < maxKept {
			return
		}
		if !d.busy {
			delete(p.pages, key)
		}
	}
}

// flush writes until no update waits.
func (p *pageWriter) flush(ctx context.Context, key string, d *pendingPage) {
	for {
		p.mu.Lock()
		updates := d.waiting
		d.waiting = nil
		d.busy = len(updates) > 0
		p.mu.Unlock()
		if len(updates) == 0 {
			return
		}
		err := p.update(ctx, key, d, updates)
		for _, n := range updates {
			n.done <- err
		}
	}
}

// update writes the page with the updates applied. It rereads the page whenever another process has
// changed it.
func (p *pageWriter) update(ctx context.Context, key string, d *pendingPage, updates []*update) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return bus.RetryOnConflict(ctx, func() error {
		if d.page == nil {
			if err := p.read(ctx, key, d); err != nil {
				return err
			}
		}
		for _, n := range updates {
			n.apply(d.page)
		}
		data, err := proto.Marshal(d.page)
		if err != nil {
			return fmt.Errorf("ledger: %w", err)
		}
		rev, err := p.store.Update(ctx, key, data, d.rev)
		if err != nil {
			d.page = nil // what is stored now is not known
			return fmt.Errorf("ledger: %w", err)
		}
		step.At("ledger.written")
		d.rev = rev
		return nil
	})
}

func (p *pageWriter) read(ctx context.Context, key string, d *pendingPage) error {
	page, rev, err := readPage(ctx, p.store, key)
	if err != nil {
		return err
	}
	d.page, d.rev = page, rev
	return nil
}
