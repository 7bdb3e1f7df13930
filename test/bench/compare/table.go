package compare

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// Rate is in rows a second.
func (r Run) Rate() float64 { return float64(r.Rows) / r.Took.Seconds() }

// ArrivalRate is the same without waiting for confirmations.
func (r Run) ArrivalRate() float64 { return float64(r.Rows) / r.Arrived.Seconds() }

// String is a line for a waiting person.
func (r Run) String() string {
	return fmt.Sprintf("%8.0f rows/s, %s, last row after %s, %+v", r.Rate(), r.Took.Round(time.Millisecond), r.Arrived.Round(time.Millisecond), r.Difference)
}

// of is the median, the least and the greatest of a figure over all runs.
func (r Result) of(figure func(Run) float64) (median, least, greatest float64) {
	values := make([]float64, 0, len(r.Runs))
	for _, run := range r.Runs {
		values = append(values, figure(run))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2, values[0], values[n-1]
}

func (r Result) median(figure func(Run) float64) float64 {
	m, _, _ := r.of(figure)
	return m
}

// headings of the two tables.
var headings = map[string]string{
	Drain:   "What was stored before: a full stream EVENTS, or a file",
	Through: "Through a store on disk, with the safest settings of each",
}

// Table prints all results, one table for each class.
func Table(out io.Writer, results []Result) error {
	for _, class := range []string{Drain, Through} {
		if err := one(out, class, results); err != nil {
			return err
		}
	}
	return nil
}

func one(out io.Writer, class string, results []Result) error {
	var own float64
	for _, r := range results {
		if r.Class == class && r.Name == baseline && len(r.Runs) > 0 {
			own = r.median(Run.Rate)
		}
	}
	fmt.Fprintf(out, "\n%s:\n\n", headings[class])
	w := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(w, "| program\t| rows/s, median\t| from - to\t| until at the sink\t| of Tapline\t| CPU us a row\t| peak MiB\t| missing\t| altered\t| twice\t|")
	fmt.Fprintln(w, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, r := range results {
		if r.Class == class && len(r.Runs) > 0 {
			fmt.Fprintln(w, r.line(own))
		}
	}
	return w.Flush()
}

// line of the table; own is the rate that it is compared with, 0 if that was not measured.
func (r Result) line(own float64) string {
	rate, least, greatest := r.of(Run.Rate)
	ratio, cpu, peak := "-", "-", "-"
	if own > 0 {
		ratio = fmt.Sprintf("%.2f", rate/own)
	}
	if m := r.median(func(r Run) float64 { return float64(r.Peak) / (1 << 20) }); m > 0 {
		peak = fmt.Sprintf("%.0f", m)
		cpu = fmt.Sprintf("%.1f", r.median(func(r Run) float64 { return float64(r.CPU.Microseconds()) / float64(r.Rows) }))
	}
	var sum Difference
	for _, run := range r.Runs {
		sum.Missing += run.Missing
		sum.Altered += run.Altered
		sum.Twice += run.Twice
	}
	return fmt.Sprintf("| %s\t| %.0f\t| %.0f - %.0f\t| %.0f\t| %s\t| %s\t| %s\t| %d\t| %d\t| %d\t|", r.Name, rate, least, greatest,
		r.median(Run.ArrivalRate), ratio, cpu, peak, sum.Missing, sum.Altered, sum.Twice)
}
