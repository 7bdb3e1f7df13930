package fetcher

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tapline/tapline/pkg/window"
	taplinev1 "github.com/tapline/tapline/proto/gen/tapline/v1"
	"github.com/tapline/tapline/services/fetcher/internal/bound"
	"github.com/tapline/tapline/services/fetcher/internal/proofpoint"
)

const (
	// dense is the share of the largest answer, in thousandths, above which a window is not asked
	// for whole. The hour after the one that was measured may bring some more.
	dense = 900
	// telling is the shortest window that tells what an hour brings. A burst fills a shorter one.
	telling = 10 * time.Minute
)

// permille is what an hour brings if a window brought so much, in thousandths of the largest
// answer.
func permille(records, size int64, span time.Duration) uint32 {
	share := max(float64(records)/bound.Records, float64(size)/bound.Body)
	return uint32(min(1000*share*window.MaxSpan.Seconds()/span.Seconds(), 1e9))
}

// fills is the share of the largest answer that a window of such an hour brings, in thousandths.
func fills(permille uint32, span time.Duration) float64 {
	return float64(permille) * span.Seconds() / window.MaxSpan.Seconds()
}

// crowded reports whether the window is known to bring more than one answer may have: the call
// would be in vain.
func (f *Fetcher) crowded(ctx context.Context, w *work) (bool, error) {
	if !w.shortens() {
		return false, nil
	}
	known, _, err := f.shapes.read(ctx)
	if err != nil {
		return false, err
	}
	for _, d := range known.GetDense() {
		if w.like(d) && fills(d.GetPermille(), w.window.Span()) > dense {
			return true, nil
		}
	}
	return false, nil
}

// like reports whether a window is one of those that a density is about.
func (w *work) like(d *taplinev1.Density) bool {
	key := w.key(w.endpoint.Path)
	return d.GetLane() == key.Lane && d.GetPath() == key.Endpoint
}

// asked reports whether a window was asked for as it is, at its usual endpoint: other answers do
// not tell what it brings.
func (w *work) asked(calls []call) bool {
	return len(calls) == 1 && calls[0].endpoint.Path == w.endpoint.Path && calls[0].window == w.window
}

// corrected is what an hour brings, after an answer of a window too short to tell it. It counts
// only where the known density forbids the next longer window, since no longer one would ever be
// asked for. Then it lowers the density by half at most: neighbors may bring more.
func corrected(known, brought uint32, span time.Duration) (uint32, bool) {
	return max(brought, known/2), brought < known && fills(known, 2*span) > dense
}

// learn remembers how much an hour brings. Of an answer that failed, only that the window was too
// large says something.
func (f *Fetcher) learn(ctx context.Context, w *work, records, size int64, failure *proofpoint.APIError) {
	span, brought := w.window.Span(), permille(records, size, w.window.Span())
	huge := failure != nil && failure.Kind == proofpoint.TooLarge && fills(brought, span) >= dense
	if !huge && failure != nil {
		return
	}
	_, err := f.shapes.change(ctx, func(k *taplinev1.Shapes) {
		at, brought := slices.IndexFunc(k.GetDense(), w.like), brought
		if !huge && span < telling {
			if at < 0 {
				return
			}
			var ok bool
			if brought, ok = corrected(k.GetDense()[at].GetPermille(), brought, span); !ok {
				return
			}
		}
		switch {
		case brought <= dense:
			k.Dense = slices.DeleteFunc(k.GetDense(), w.like)
			return
		case at < 0:
			at, k.Dense = len(k.GetDense()), append(k.GetDense(), &taplinev1.Density{})
		case !huge && within(brought, k.GetDense()[at].GetPermille()):
			return
		}
		key := w.key(w.endpoint.Path)
		k.Dense[at] = &taplinev1.Density{Lane: key.Lane, Path: key.Endpoint, Permille: brought, At: timestamppb.New(f.now()), JobId: w.job.GetId()}
	})
	if err != nil { // the next answer tells it as well
		f.log.Warn("cannot remember how large answers are", slog.Any("error", err))
	}
}

// within reports whether two densities differ by less than an eighth, which is not worth a write.
func within(one, other uint32) bool { return max(one, other)-min(one, other) < max(one, other)/8 }
